"""The server's side of a secure sum: it passes messages on, and learns the sum of the survivors.

    adverts -> roster -> boxes -> inboxes -> masked vectors -> survivors -> reveals -> sum

A step goes on with the stores that have answered; with too few it raises `SecureSumError`.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Self

import numpy as np

from fedshelf.common.privacy.secure_sum import ciphers, shamir
from fedshelf.common.privacy.secure_sum.messages import (
    Advert,
    Neighbourhood,
    Reveal,
    Roster,
    SumAddress,
    check_order,
    malformed,
    pack_boxes,
    unpack_boxes,
)
from fedshelf.common.privacy.secure_sum.neighbourhoods import choose_threshold, enough_sharers
from fedshelf.common.privacy.secure_sum.pair_keys import mask_key, self_mask_key
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError


def make_roster(order: str, adverts: Mapping[str, Advert], least: int) -> Roster:
    """Return the roster of the stores that have sent their keys.

    Args:
        order: SHA-256 of the order, in hexadecimal
        adverts: by store
        least: stores that each store wants to be hidden among at least

    Raises:
        SecureSumError: too-few-stores; malformed, if keys are those of another store
    """
    check_order(order)
    for store, advert in adverts.items():
        if advert.store != store:
            raise malformed(f"the keys of {advert.store[:63]!r} by {store}")
    threshold = choose_threshold(len(adverts), least) if adverts else None
    if threshold is None:
        raise _too_few(f"{len(adverts)} stores have sent their keys; {least} must")
    return Roster(threshold, order, tuple(adverts[store] for store in sorted(adverts)))


class SumServer:
    """One attempt at a secure sum, after the roster.

    Args:
        address: the attempt
        roster: from `make_roster`
        zeros: ring elements [Q], all zero: the type and length of the vectors
    """

    def __init__(self, address: SumAddress, roster: Roster, zeros: ciphers.RingVector) -> None:
        self.address = address
        self.roster = roster
        self._boxes: dict[str, Mapping[str, bytes]] = {}  # by sender, then by receiver
        self._has_dealt = False
        self._total = zeros.copy()
        self._masked: dict[str, None] = {}
        self._reveals: dict[str, Reveal] = {}

    @property
    def sharers(self) -> frozenset[str]:
        """The stores that have shared their keys."""
        return frozenset(self._boxes)

    @property
    def survivors(self) -> tuple[str, ...]:
        """The stores whose vectors have come, sorted."""
        return tuple(sorted(self._masked))

    def neighbourhood(self, store: str) -> Neighbourhood:
        """Return the stores around one of the roster."""
        return Neighbourhood.of(store, self._circle)

    def take_boxes(self, store: str, data: bytes) -> None:
        """Take the sealed shares of a store: the answer of `SumStore.share`.

        Raises:
            SecureSumError: malformed; out-of-turn, once an inbox was made: its store would not know
                the one that comes late
        """
        self._check_store(store)
        if self._has_dealt:
            raise SecureSumError(
                "out-of-turn", f"The shares of {store} come after others were passed on."
            )
        others = self.neighbourhood(store).others
        boxes = unpack_boxes(data, others)
        if len(boxes) < len(others):
            raise malformed(f"no shares for {len(others) - len(boxes)} of {store}'s neighbours")
        self._boxes[store] = boxes

    def inbox(self, store: str) -> bytes:
        """Return the boxes for a store that has shared its keys, once all have come that do.

        Raises:
            SecureSumError: too-few-stores; on the circle a new attempt must be made without those
                that have gone
        """
        around = self.neighbourhood(store)
        boxes = {name: self._boxes[name][store] for name in around.others if name in self._boxes}
        needed = enough_sharers(len(self.roster.adverts), self.roster.threshold)
        if len(boxes) + 1 < needed:
            raise _too_few(
                f"{len(boxes) + 1} of the stores around {store} have shared their keys; {needed}"
                " must. Begin another attempt without those that have gone"
            )
        self._has_dealt = True
        return pack_boxes(boxes, around.others)

    def take_masked(self, store: str, vector: ciphers.RingVector) -> None:
        """Add the masked vector of a store to the sum; the store is a survivor from then on.

        Raises:
            SecureSumError: malformed, also for a second vector
        """
        if store not in self._boxes or store in self._masked:
            raise malformed(f"a vector of {store}, which has sent one or has shared no keys")
        if vector.dtype != self._total.dtype or vector.shape != self._total.shape:
            raise malformed(
                f"a vector of {vector.dtype} {list(vector.shape)}; expected {self._total.dtype}"
                f" {list(self._total.shape)}"
            )
        np.add(self._total, vector, out=self._total)
        self._masked[store] = None

    def check_survivors(self) -> None:
        """Check that the vectors that have come can be unmasked, before the stores are asked.

        Raises:
            SecureSumError: too-few-stores
        """
        for store in self._masked:
            near = self._masked.keys() & self.neighbourhood(store).points.keys()
            if len(near) < self.roster.threshold:
                raise _too_few(
                    f"the vectors of {len(near)} stores around {store} have come;"
                    f" {self.roster.threshold} must"
                )
        if not self._masked:
            raise _too_few("no vector has come")

    def take_reveal(self, store: str, data: bytes) -> Advert | None:
        """Take the revealed shares of a survivor; return its keys for the next round.

        Raises:
            SecureSumError: malformed
        """
        if store not in self._masked:
            raise malformed(f"shares of {store}, whose vector is not in the sum")
        reveal = Reveal.from_bytes(data, list(self.neighbourhood(store).points))
        for name, (kind, _) in reveal.shares.items():
            expected = "seed" if name in self._masked else "key"
            if kind != expected and name in self._boxes:
                raise malformed(f"a share of kind {kind} of {name} by {store}; expected {expected}")
        self._reveals[store] = reveal
        return reveal.next_advert

    @property
    def is_ready(self) -> bool:
        """True once enough shares of every secret have come for `total`."""
        return all(len(self._shares_of(name)) >= self.roster.threshold for name in self._boxes)

    def total(self) -> ciphers.RingVector:
        """Return the sum of the survivors' vectors, ring elements [Q].

        Raises:
            SecureSumError: too-few-stores, if too few shares have come; wrong-share, if some are
                not those that their stores dealt
        """
        self.check_survivors()
        masks: list[tuple[bytes, bool]] = []
        adverts = {advert.store: advert for advert in self.roster.adverts}
        for name in sorted(self._boxes):
            secret = self._secret(adverts[name])
            if name in self._masked:
                masks.append((self_mask_key(secret, self.address, self.roster), False))
                continue
            for other in self.neighbourhood(name).others:
                if other in self._masked:
                    key = mask_key(secret, name, adverts[other], self.address, self.roster)
                    masks.append((key, name < other))  # what `other` did is undone
        total = self._total.copy()
        ciphers.add_masks(total, masks)
        return total

    def to_bytes(self) -> bytes:
        """Return all but the running total and the reveals, for a process that goes on.

        It is needed once `unmask` was asked: the same survivors must be asked again, and no others.
        """
        return json.dumps(
            {
                "roster": self.roster.to_bytes().hex(),
                "sharers": sorted(self._boxes),
                "survivors": list(self.survivors),
            }
        ).encode()

    @classmethod
    def from_bytes(cls, address: SumAddress, data: bytes, total: ciphers.RingVector) -> Self:
        """Read `to_bytes` back, to ask the survivors for their shares again.

        Args:
            address: the attempt
            data: from `to_bytes`
            total: the sum of the survivors' masked vectors

        Raises:
            SecureSumError: malformed
        """
        try:
            value = json.loads(data)
            server = cls(address, Roster.from_bytes(bytes.fromhex(value["roster"])), total)
            server._boxes = {store: {} for store in value["sharers"]}
            server._masked = dict.fromkeys(value["survivors"])
        except (ValueError, KeyError, TypeError) as error:
            raise malformed("a state of the server that cannot be read") from error
        return server

    @property
    def masked_total(self) -> ciphers.RingVector:
        """The sum of the masked vectors so far, ring elements [Q]."""
        return self._total

    @cached_property
    def _circle(self) -> tuple[str, ...]:
        return self.roster.circle()

    def _check_store(self, store: str) -> None:
        if store not in self.roster.stores:
            raise malformed(f"an answer of {store}, which was not asked")

    def _shares_of(self, name: str) -> dict[int, bytes]:
        """Return the shares of a store's secret that have come, by point."""
        found = {}
        for holder, point in self.neighbourhood(name).points.items():
            if holder in self._reveals:
                kind, share = self._reveals[holder].shares[name]
                if kind != "none":
                    found[point] = share
        return found

    def _secret(self, advert: Advert) -> bytes:
        """Return the seed of a survivor, or the mask key of a store that dropped out."""
        found = self._shares_of(advert.store)
        threshold = self.roster.threshold
        if len(found) < threshold:
            raise _too_few(
                f"{len(found)} shares of {advert.store}'s secret have come; {threshold} must"
            )
        is_survivor = advert.store in self._masked
        expected = advert.seed_commitment if is_survivor else advert.key_commitment
        points = sorted(found)
        # `threshold` shares from each place on: one wrong share is not in all of them
        for start in range(len(points)):
            chosen = (points[start:] + points[:start])[:threshold]
            secret = shamir.join({point: found[point] for point in chosen})
            if secret is not None and ciphers.commitment(secret) == expected:
                return secret
            if len(points) == threshold:
                break
        raise SecureSumError(
            "wrong-share",
            f"The shares of {advert.store}'s secret do not give it: a store sends wrong ones, so"
            " the sum cannot be unmasked.",
        )


def _too_few(what: str) -> SecureSumError:
    return SecureSumError("too-few-stores", f"A secure sum cannot go on: {what}.")
