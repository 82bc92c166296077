"""A store's side of a secure sum: four answers, and what it never answers.

    advertise -> share -> mask -> unmask

A step that is asked again gives the same answer, in this process or in one that has read the memory
from disk. One vector, one set of survivors, and one sum of a round: all else is refused, with the
code of a `SecureSumError`.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from fedshelf.common.privacy.secure_sum import ciphers, shamir
from fedshelf.common.privacy.secure_sum.identities import SumSigner, SumVerifier
from fedshelf.common.privacy.secure_sum.memory import Attempt, SumMemory
from fedshelf.common.privacy.secure_sum.messages import (
    Advert,
    Neighbourhood,
    Reveal,
    RevealedKind,
    Roster,
    SumAddress,
    check_order,
    malformed,
    pack_boxes,
    unpack_boxes,
)
from fedshelf.common.privacy.secure_sum.neighbourhoods import enough_sharers
from fedshelf.common.privacy.secure_sum.pair_keys import box_key, mask_key, self_mask_key
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError
from fedshelf.common.privacy.secure_sum.roster_check import check_roster

_NO_SHARE = bytes(shamir.SHARE_BYTES)


class SumStore:
    """One store in the secure sums of one run and purpose.

    Every method calls `keep` with the whole memory before it returns, if the memory has changed. So
    nothing leaves that is not on disk.

    Args:
        signer: the store's own key
        verify: recognises other stores
        least: stores that must hide each other at least: a sum of fewer is refused
        memory: an empty one, or the one that was kept last
        keep: writes the memory (`SumMemory.to_bytes`) to disk, and returns when it is there
    """

    def __init__(
        self,
        signer: SumSigner,
        verify: SumVerifier,
        least: int,
        memory: SumMemory,
        keep: Callable[[bytes], None],
    ) -> None:
        self._signer = signer
        self._verify = verify
        self._least = least
        self._memory = memory
        self._keep = keep

    def advertise(self, address: SumAddress) -> Advert:
        """Return the store's keys for an attempt.

        An older attempt at the round ends: its keys are forgotten.

        Raises:
            SecureSumError: already-summed, if the round's sum may be known; out-of-turn, if a newer
                round or attempt has begun
        """
        self._check_address(address)
        attempt = self._memory.find(address)
        if attempt is None:
            if address.round <= self._memory.summed:
                raise SecureSumError(
                    "already-summed",
                    f"Round {address.round} was summed before: a second sum of the same updates"
                    " would tell single ones.",
                )
            if (address.round, address.attempt) < self._memory.floor:
                raise _out_of_turn(address, "a newer one has begun")
            attempt = Attempt(address, secrets.token_bytes(ciphers.KEY_BYTES))
            self._remember(self._memory.begun(attempt))
        return self._advert(attempt)

    def share(self, address: SumAddress, order: str, roster: Roster) -> bytes:
        """Return the sealed shares of the store's secrets, one box for each neighbour.

        Args:
            address: the attempt
            order: SHA-256, in hexadecimal, of the order as this store got it
            roster: the stores as the server shows them

        Returns:
            `messages.pack_boxes`, in the order of the neighbours' names.

        Raises:
            SecureSumError: unknown-store, wrong-roster, too-few-stores or out-of-turn
        """
        attempt = self._find(address)
        check_order(order)
        if attempt.roster is None:
            check_roster(roster, self._advert(attempt), address, self._verify, self._least)
            if roster.order != order:
                raise SecureSumError(
                    "wrong-roster",
                    "The other stores of the secure sum have got another order than this one.",
                )
            attempt = replace(attempt, roster=roster)
            self._change(attempt)
        elif attempt.roster != roster or roster.order != order:
            raise SecureSumError(
                "wrong-roster",
                f"The list of stores of round {address.round}, or their order, is another one than"
                " before.",
            )
        around = self._neighbourhood(roster)
        dealt = self._dealt(attempt, roster, around)
        boxes = {
            advert.store: ciphers.seal(
                box_key(
                    attempt.seal_key,
                    advert,
                    address,
                    roster,
                    sender=self._signer.store,
                    receiver=advert.store,
                ),
                b"".join(dealt[advert.store]),
            )
            for advert in roster.adverts
            if advert.store in around.others
        }
        return pack_boxes(boxes, around.others)

    def mask(
        self, address: SumAddress, boxes: bytes, vector: ciphers.RingVector
    ) -> ciphers.RingVector:
        """Return `vector` under the store's own mask and those that it shares with its neighbours.

        Args:
            address: the attempt
            boxes: the boxes for this store, in the order of its neighbours' names, zeros for those
                that have not shared their keys
            vector: ring elements [Q]

        Returns:
            Ring elements [Q], which look random.

        Raises:
            SecureSumError: too-few-stores, changed-shares, second-vector or out-of-turn
        """
        attempt = self._find(address)
        roster = self._shared(attempt)
        around = self._neighbourhood(roster)
        received = self._open(attempt, roster, around, unpack_boxes(boxes, around.others))
        digest = _digest(vector)
        if attempt.received and attempt.received != received:
            raise SecureSumError(
                "changed-shares",
                f"The stores that have shared their keys in round {address.round} are others than"
                " before.",
            )
        if attempt.vector not in ("", digest):
            raise SecureSumError(
                "second-vector",
                f"Round {address.round} was asked with another vector before: under the same"
                " masks, the difference would tell both.",
            )
        attempt = replace(attempt, received=received, vector=digest)
        self._change(attempt)
        masked = vector.copy()
        ciphers.add_masks(masked, self._masks(attempt, roster))
        return masked

    def unmask(self, address: SumAddress, survivors: Sequence[str]) -> Reveal:
        """Return a share for each holder: of its seed if it survived, else of its mask key.

        The answer has the keys for the next round.

        Args:
            address: the attempt
            survivors: the stores whose vectors are in the sum

        Raises:
            SecureSumError: too-few-stores, second-survivors or out-of-turn
        """
        attempt = self._memory.find(address)
        if attempt is None or not attempt.vector:
            raise _out_of_turn(address, "no vector was sent for it")
        roster = self._shared(attempt)
        chosen = tuple(sorted(survivors))
        if attempt.survivors is None:
            self._check_newest(attempt)
            self._check_survivors(attempt, roster, chosen)
            self._change(replace(attempt, survivors=chosen))
        elif attempt.survivors != chosen:
            raise SecureSumError(
                "second-survivors",
                f"Round {address.round} was summed over other stores before: the difference of the"
                " two sums would tell single updates.",
            )
        shares = {
            name: _revealed(attempt.received.get(name), is_survivor=name in chosen)
            for name in self._neighbourhood(roster).points
        }
        return Reveal(shares, self._next_advert(address.next_round()))

    def forget(self, committed: int) -> None:
        """Erase the keys of the rounds up to the last one that the server cannot lose any more."""
        memory = self._memory.forgetting(committed)
        if memory != self._memory:
            self._remember(memory)

    def _next_advert(self, address: SumAddress) -> Advert | None:
        """Return the keys for the next round; None if it is over, or in a later attempt."""
        is_kept = self._memory.find(address) is not None
        is_open = (address.round, address.attempt) > self._memory.floor
        return self.advertise(address) if is_kept or is_open else None

    def _advert(self, attempt: Attempt) -> Advert:
        draft = Advert(
            self._signer.store,
            self._signer.certificate,
            ciphers.public_half(attempt.seal_key),
            ciphers.public_half(attempt.mask_key),
            ciphers.commitment(attempt.seed),
            ciphers.commitment(attempt.mask_key),
        )
        return replace(draft, signature=self._signer.sign(draft.statement(attempt.address)))

    def _check_address(self, address: SumAddress) -> None:
        memory = self._memory
        if (address.chain, address.run, address.purpose) != (
            memory.chain,
            memory.run,
            memory.purpose,
        ):
            raise _out_of_turn(address, "it is of another run")
        if address.round < 1 or address.attempt < 0:
            raise malformed(f"round {address.round}, attempt {address.attempt}")

    def _find(self, address: SumAddress) -> Attempt:
        """Return an attempt that goes on. Raises SecureSumError."""
        attempt = self._memory.find(address)
        if attempt is None:
            raise _out_of_turn(address, "its keys are not here")
        if attempt.survivors is None:
            self._check_newest(attempt)
        return attempt

    def _check_newest(self, attempt: Attempt) -> None:
        place = (attempt.address.round, attempt.address.attempt)
        if place != self._memory.floor:
            raise _out_of_turn(attempt.address, "a newer one has begun")

    def _shared(self, attempt: Attempt) -> Roster:
        if attempt.roster is None:
            raise _out_of_turn(attempt.address, "its stores are not known")
        return attempt.roster

    def _neighbourhood(self, roster: Roster) -> Neighbourhood:
        return Neighbourhood.of(self._signer.store, roster.circle())

    def _dealt(
        self, attempt: Attempt, roster: Roster, around: Neighbourhood
    ) -> dict[str, tuple[bytes, bytes]]:
        """Return the shares of this store's seed and mask key, by holder."""
        points = list(around.points.values())
        seed, key = (
            shamir.split(secret, roster.threshold, points, partial(attempt.coefficients, purpose))
            for secret, purpose in ((attempt.seed, "seed"), (attempt.mask_key, "mask key"))
        )
        return {name: (seed[point], key[point]) for name, point in around.points.items()}

    def _open(
        self,
        attempt: Attempt,
        roster: Roster,
        around: Neighbourhood,
        boxes: Mapping[str, bytes],
    ) -> dict[str, tuple[bytes, bytes]]:
        """Return the shares that this store holds, its own among them. Raises SecureSumError."""
        needed = enough_sharers(len(roster.adverts), roster.threshold)
        if len(boxes) + 1 < needed:
            raise SecureSumError(
                "too-few-stores",
                f"{len(boxes) + 1} stores around this one have shared their keys in round"
                f" {attempt.address.round}; {needed} must.",
            )
        received = {self._signer.store: self._dealt(attempt, roster, around)[self._signer.store]}
        for advert in roster.adverts:
            if advert.store in boxes:
                key = box_key(
                    attempt.seal_key,
                    advert,
                    attempt.address,
                    roster,
                    sender=advert.store,
                    receiver=self._signer.store,
                )
                text = ciphers.unseal(key, boxes[advert.store])
                if text is None:
                    raise SecureSumError(
                        "changed-shares",
                        f"The shares of {advert.store} were changed on their way, or it has"
                        " another order or another list of stores.",
                    )
                received[advert.store] = (text[: shamir.SHARE_BYTES], text[shamir.SHARE_BYTES :])
        return received

    def _masks(self, attempt: Attempt, roster: Roster) -> list[tuple[bytes, bool]]:
        own = self._signer.store
        masks = [(self_mask_key(attempt.seed, attempt.address, roster), True)]
        for advert in roster.adverts:
            if advert.store in attempt.received and advert.store != own:
                key = mask_key(attempt.mask_key, own, advert, attempt.address, roster)
                masks.append((key, own < advert.store))
        return masks

    def _check_survivors(
        self, attempt: Attempt, roster: Roster, survivors: tuple[str, ...]
    ) -> None:
        around = self._neighbourhood(roster)
        near = [name for name in survivors if name in around.points]
        if (
            len(set(survivors)) != len(survivors)
            or not set(survivors) <= set(roster.stores)
            or not set(near) <= attempt.received.keys()
            or self._signer.store not in survivors
            or len(near) < roster.threshold
        ):
            raise SecureSumError(
                "too-few-stores",
                f"Round {attempt.address.round} is to be summed over {len(survivors)} stores, of"
                f" which {len(near)} are around this one; this one and {roster.threshold - 1}"
                " others around it that have shared their keys must be among them.",
            )

    def _change(self, attempt: Attempt) -> None:
        if attempt != self._memory.find(attempt.address):
            self._remember(self._memory.changed(attempt))

    def _remember(self, memory: SumMemory) -> None:
        self._keep(memory.to_bytes())
        self._memory = memory


def _revealed(
    received: tuple[bytes, bytes] | None, *, is_survivor: bool
) -> tuple[RevealedKind, bytes]:
    if received is None:
        return "none", _NO_SHARE
    return ("seed", received[0]) if is_survivor else ("key", received[1])


def _digest(vector: ciphers.RingVector) -> str:
    return hashlib.sha256(f"{vector.dtype.str} {len(vector)} ".encode() + vector.data).hexdigest()


def _out_of_turn(address: SumAddress, why: str) -> SecureSumError:
    return SecureSumError(
        "out-of-turn",
        f"Round {address.round}, attempt {address.attempt}, of the secure sum does not go on:"
        f" {why}.",
    )
