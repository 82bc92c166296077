"""A store's memory of the secure sums of one run, which is on its disk before anything leaves it.

A store without it could be asked for a second sum of the same update over other stores: the
difference of the two sums would be the update of one store, because training is the same to the
bit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from fedshelf.common.privacy.secure_sum.ciphers import derive, stream
from fedshelf.common.privacy.secure_sum.messages import Purpose, Roster, SumAddress, malformed
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError

FORMAT = 1


@dataclass(frozen=True)
class Attempt:
    """A store's memory of one attempt. All its keys derive from `secret`.

    Attributes:
        secret: 32 random bytes
        roster: the stores, once they are known
        received: (share of the seed, share of the mask key) by store whose shares have come
        vector: SHA-256 of the one vector that was masked; empty before
        survivors: the set that was answered; None before
    """

    address: SumAddress
    secret: bytes
    roster: Roster | None = None
    received: Mapping[str, tuple[bytes, bytes]] = field(default_factory=dict)
    vector: str = ""
    survivors: tuple[str, ...] | None = None

    @property
    def seal_key(self) -> bytes:
        """The private X25519 key to which shares are sealed."""
        return derive(self.secret, ["seal key"])

    @property
    def mask_key(self) -> bytes:
        """The private X25519 key of the masks shared with others; its shares are dealt."""
        return derive(self.secret, ["mask key"])

    @property
    def seed(self) -> bytes:
        """The seed of the store's own mask; its shares are dealt."""
        return derive(self.secret, ["seed"])

    def coefficients(self, purpose: str, size: int) -> bytes:
        """Return random bytes for the shares of one of the two secrets."""
        return stream(derive(self.secret, ["coefficients", purpose]), size)

    def to_json(self) -> dict[str, Any]:
        """Return the attempt as plain values."""
        return {
            "purpose": self.address.purpose,
            "round": self.address.round,
            "attempt": self.address.attempt,
            "secret": self.secret.hex(),
            "roster": self.roster.to_bytes().hex() if self.roster else "",
            "received": {
                store: [share.hex() for share in shares] for store, shares in self.received.items()
            },
            "vector": self.vector,
            "survivors": None if self.survivors is None else list(self.survivors),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any], chain: str, run: str) -> Self:
        """Read `to_json` back. Raises KeyError, TypeError or ValueError."""
        survivors = value["survivors"]
        roster = bytes.fromhex(value["roster"])
        return cls(
            SumAddress(chain, run, value["purpose"], value["round"], value["attempt"]),
            bytes.fromhex(value["secret"]),
            Roster.from_bytes(roster) if roster else None,
            {
                store: (bytes.fromhex(seed), bytes.fromhex(key))
                for store, (seed, key) in value["received"].items()
            },
            value["vector"],
            None if survivors is None else tuple(survivors),
        )


@dataclass(frozen=True)
class SumMemory:
    """A store's memory of the sums of one run and purpose.

    Attributes:
        floor: (round, attempt) before which nothing is begun any more
        summed: last round whose sum may be known; 0 before the first
        attempts: the newest attempt, and those whose sums may have to be answered again
    """

    chain: str
    run: str
    purpose: Purpose
    floor: tuple[int, int] = (0, 0)
    summed: int = 0
    attempts: tuple[Attempt, ...] = ()

    def find(self, address: SumAddress) -> Attempt | None:
        """Return the memory of an attempt, if there is one."""
        return next((kept for kept in self.attempts if kept.address == address), None)

    def begun(self, attempt: Attempt) -> "SumMemory":
        """Return the memory with a new attempt: older ones that were not answered are forgotten."""
        answered = tuple(kept for kept in self.attempts if kept.survivors is not None)
        place = (attempt.address.round, attempt.address.attempt)
        return replace(self, floor=place, attempts=(*answered, attempt))

    def changed(self, attempt: Attempt) -> "SumMemory":
        """Return the memory with a new state of an attempt that it has."""
        attempts = tuple(
            attempt if kept.address == attempt.address else kept for kept in self.attempts
        )
        answered = attempt.address.round if attempt.survivors is not None else 0
        return replace(self, attempts=attempts, summed=max(self.summed, answered))

    def forgetting(self, committed: int) -> "SumMemory":
        """Return the memory without the keys of rounds that are never asked for again.

        Args:
            committed: the last round that the server cannot lose any more
        """
        kept = tuple(attempt for attempt in self.attempts if attempt.address.round > committed)
        return replace(self, attempts=kept)

    def to_bytes(self) -> bytes:
        """Return the memory as bytes; they hold private keys."""
        return json.dumps(
            {
                "format": FORMAT,
                "chain": self.chain,
                "run": self.run,
                "purpose": self.purpose,
                "floor": list(self.floor),
                "summed": self.summed,
                "attempts": [attempt.to_json() for attempt in self.attempts],
            }
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read `to_bytes` back.

        Raises:
            SecureSumError: malformed; then the store must not take part in sums of this run
        """
        try:
            value = json.loads(data)
            if value["format"] != FORMAT:
                raise ValueError(value["format"])
            chain, run = value["chain"], value["run"]
            round_number, attempt = value["floor"]
            attempts = tuple(Attempt.from_json(one, chain, run) for one in value["attempts"])
            return cls(
                chain, run, value["purpose"], (round_number, attempt), value["summed"], attempts
            )
        except (ValueError, KeyError, TypeError, RecursionError, SecureSumError) as error:
            raise malformed("a memory that cannot be read") from error
