"""The messages of a secure sum, as bytes of fixed layout that are checked when they are read.

    Advert         store -> server   256 bytes, the certificate and the name
    Roster         server -> stores  all adverts, and the threshold
    Boxes          both ways         82 bytes for each neighbour
    masked vector                    4 (or 2) bytes for each coordinate
    Reveal         store -> server   34 bytes for each holder, and the next round's advert

Numbers are big-endian. The length of a message depends on the roster alone, not on who dropped out.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

from fedshelf.common.privacy.secure_sum.ciphers import KEY_BYTES, TAG_BYTES, Label
from fedshelf.common.privacy.secure_sum.neighbourhoods import neighbours
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError
from fedshelf.common.privacy.secure_sum.shamir import SHARE_BYTES

SIGNATURE_BYTES = 64
BOX_BYTES = 2 * SHARE_BYTES + TAG_BYTES
REVEALED_BYTES = 1 + SHARE_BYTES
MAX_STORES = 10_000
_MAX_NAME_BYTES = 1_000
_MAX_CERTIFICATE_BYTES = 10_000
_ABSENT_BOX = bytes(BOX_BYTES)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Purpose = Literal["train", "validation", "test"]
RevealedKind = Literal["seed", "key", "none"]
_KINDS: tuple[RevealedKind, ...] = ("none", "seed", "key")


@dataclass(frozen=True)
class SumAddress:
    """The place of one secure sum; keys, signatures and masks are bound to it.

    Attributes:
        chain: the chain's identity
        run: the run's identity
        purpose: the order that the sum answers
        round: number of the round
        attempt: 0, or more after attempts that were given up before anything was revealed
    """

    chain: str
    run: str
    purpose: Purpose
    round: int
    attempt: int = 0

    @property
    def label(self) -> Label:
        """The address as the beginning of a label, see `ciphers.derive`."""
        return (self.chain, self.run, self.purpose, self.round, self.attempt)

    def next_round(self) -> "SumAddress":
        """Return the address of the first attempt at the next round."""
        return replace(self, round=self.round + 1, attempt=0)


@dataclass(frozen=True)
class Advert:
    """The public keys of a store for one address.

    Attributes:
        store: its name
        certificate: the office's word for the store's signing key, which this module does not read
        seal_key: X25519 key, 32 bytes, for shares that are sent to the store
        mask_key: X25519 key, 32 bytes, for the masks that it shares with others
        seed_commitment, key_commitment: SHA-256 of the two secrets whose shares the store deals
        signature: Ed25519, 64 bytes, over `statement`
    """

    store: str
    certificate: bytes
    seal_key: bytes
    mask_key: bytes
    seed_commitment: bytes
    key_commitment: bytes
    signature: bytes = bytes(SIGNATURE_BYTES)

    def statement(self, address: SumAddress) -> bytes:
        """Return the bytes that the store signs."""
        keys = (self.seal_key, self.mask_key, self.seed_commitment, self.key_commitment)
        parts = ["fedshelf-sum-1 advert", *address.label, self.store, *(key.hex() for key in keys)]
        return json.dumps(parts).encode()

    def to_bytes(self) -> bytes:
        """Return the advert as bytes."""
        return (
            _with_length(self.store.encode())
            + _with_length(self.certificate)
            + self.seal_key
            + self.mask_key
            + self.seed_commitment
            + self.key_commitment
            + self.signature
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read `to_bytes` back. Raises SecureSumError: malformed."""
        reader = _Reader(data)
        advert = cls._read(reader)
        reader.close()
        return advert

    @classmethod
    def _read(cls, reader: "_Reader") -> Self:
        store = reader.take_text(_MAX_NAME_BYTES)
        certificate = reader.take_with_length(_MAX_CERTIFICATE_BYTES)
        seal_key, mask_key, seed_commitment, key_commitment = (
            reader.take(KEY_BYTES) for _ in range(4)
        )
        signature = reader.take(SIGNATURE_BYTES)
        return cls(
            store, certificate, seal_key, mask_key, seed_commitment, key_commitment, signature
        )


@dataclass(frozen=True)
class Roster:
    """The stores of an attempt, as the server shows them to all.

    Attributes:
        threshold: shares that give a secret
        order: SHA-256 of the order that the sum answers, in hexadecimal. A store compares it with
            the order that it has; the sealed shares and the masks are bound to it
        adverts: sorted by store
    """

    threshold: int
    order: str
    adverts: tuple[Advert, ...]

    @property
    def stores(self) -> tuple[str, ...]:
        """The names of the stores."""
        return tuple(advert.store for advert in self.adverts)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole roster, in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def circle(self) -> tuple[str, ...]:
        """Return the stores in the order in which they are neighbours.

        It is drawn by a hash that depends on every store's keys.
        """
        seed = bytes.fromhex(self.digest)
        return tuple(sorted(self.stores, key=lambda s: hashlib.sha256(seed + s.encode()).digest()))

    def to_bytes(self) -> bytes:
        """Return the roster as bytes."""
        head = self.threshold.to_bytes(4, "big") + bytes.fromhex(self.order)
        count = len(self.adverts).to_bytes(4, "big")
        return head + count + b"".join(advert.to_bytes() for advert in self.adverts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read `to_bytes` back. Raises SecureSumError: malformed."""
        reader = _Reader(data)
        threshold = reader.take_number()
        order = reader.take(32).hex()
        if (count := reader.take_number()) > MAX_STORES:
            raise malformed(f"a roster of {count} stores; {MAX_STORES} at most")
        adverts = tuple(Advert._read(reader) for _ in range(count))
        reader.close()
        return cls(threshold, order, adverts)


@dataclass(frozen=True)
class Neighbourhood:
    """The neighbourhood of one store.

    Attributes:
        own: the store's name
        points: the point of each holder of its shares (neighbours and itself), from 1 on, by name:
            that of the holder in the sorted list of all stores
    """

    own: str
    points: Mapping[str, int]

    @classmethod
    def of(cls, store: str, circle: Sequence[str]) -> Self:
        """Return the neighbourhood of a store on the circle."""
        position = circle.index(store)
        names = [store, *(circle[other] for other in neighbours(position, len(circle)))]
        places = {name: place for place, name in enumerate(sorted(circle), start=1)}
        return cls(store, {name: places[name] for name in sorted(names)})

    @property
    def others(self) -> tuple[str, ...]:
        """The names of the neighbours, sorted."""
        return tuple(name for name in self.points if name != self.own)


def pack_boxes(boxes: Mapping[str, bytes], others: Sequence[str]) -> bytes:
    """Return sealed shares as bytes, in the order of `others`; zeros where one is missing."""
    return b"".join(boxes.get(name, _ABSENT_BOX) for name in others)


def unpack_boxes(data: bytes, others: Sequence[str]) -> dict[str, bytes]:
    """Read `pack_boxes` back. Raises SecureSumError: malformed."""
    if len(data) != BOX_BYTES * len(others):
        raise malformed(f"{len(data)} bytes of sealed shares for {len(others)} neighbours")
    boxes = {
        name: data[place * BOX_BYTES : (place + 1) * BOX_BYTES] for place, name in enumerate(others)
    }
    return {name: box for name, box in boxes.items() if box != _ABSENT_BOX}


@dataclass(frozen=True)
class Reveal:
    """The last answer of a store: one share for each holder, and its keys for the next round.

    Attributes:
        shares: (kind, 33 bytes) by store: a share of its seed if it survived, of its mask key if it
            dropped out, or "none" if it never shared its keys
        next_advert: for the address `SumAddress.next_round`; None if that round has begun
    """

    shares: Mapping[str, tuple[RevealedKind, bytes]]
    next_advert: Advert | None = None

    def to_bytes(self) -> bytes:
        """Return the shares in the order of the holders' names, then the advert."""
        return b"".join(
            bytes([_KINDS.index(kind)]) + share for kind, share in self.shares.values()
        ) + (self.next_advert.to_bytes() if self.next_advert else b"")

    @classmethod
    def from_bytes(cls, data: bytes, holders: Sequence[str]) -> Self:
        """Read `to_bytes` back. Raises SecureSumError: malformed.

        Args:
            holders: the sorted names of the store's neighbours and itself
        """
        reader = _Reader(data)
        shares: dict[str, tuple[RevealedKind, bytes]] = {}
        for name in holders:
            kind = reader.take(1)[0]
            if kind >= len(_KINDS):
                raise malformed(f"a share of kind {kind}")
            shares[name] = (_KINDS[kind], reader.take(SHARE_BYTES))
        advert = None if reader.is_at_end else Advert._read(reader)
        reader.close()
        return cls(shares, advert)


def check_order(order: str) -> None:
    """Raise SecureSumError unless `order` is a SHA-256 in hexadecimal."""
    if not _SHA256.fullmatch(order):
        raise malformed("an order that is not named by its SHA-256")


def malformed(what: str) -> SecureSumError:
    """Return the error for bytes that are no message of the protocol."""
    return SecureSumError("malformed", f"The message of a secure sum has {what}.")


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class _Reader:
    """Reads fields from bytes, each once, and none too many."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def take(self, size: int) -> bytes:
        piece = self._data[self._place : self._place + size]
        if len(piece) < size:
            raise malformed("too few bytes")
        self._place += size
        return piece

    def take_number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def take_with_length(self, most: int) -> bytes:
        size = self.take_number()
        if size > most:
            raise malformed(f"a field of {size} bytes; {most} at most")
        return self.take(size)

    def take_text(self, most: int) -> str:
        try:
            return self.take_with_length(most).decode()
        except UnicodeDecodeError:
            raise malformed("a name that is no text") from None

    @property
    def is_at_end(self) -> bool:
        return self._place == len(self._data)

    def close(self) -> None:
        if not self.is_at_end:
            raise malformed(f"{len(self._data) - self._place} bytes too many")
