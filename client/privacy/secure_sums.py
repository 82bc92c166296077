"""The store's steps in secure sums, with its memory of them in its home.

    home/secure-sums/RUN.PURPOSE.json    keys and answers of a run's sums; private

The memory is on disk before an answer leaves. So a store that is killed goes on with the same
answers, and a server that is killed may ask for them again, but for no others.
"""

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from fedshelf.client.failures import StoreError
from fedshelf.client.identity.peer import RevokedPeers, load_peer
from fedshelf.common.privacy.peers import PeerIdentity, PeerVerifier, RevocationList
from fedshelf.common.privacy.secure_sum.memory import SumMemory
from fedshelf.common.privacy.secure_sum.messages import Purpose, Roster, SumAddress
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError
from fedshelf.common.privacy.secure_sum.store import SumStore
from fedshelf.common.protocol.messages import EvaluateOrder, Summand, TrainOrder
from fedshelf.common.protocol.secure_sum import (
    MaskedSummand,
    SumAnswer,
    SumOrder,
    purpose_of,
    read_survivors,
    ring_elements,
    ring_tensor,
)
from fedshelf.common.system.files import private_directory, write_private
from fedshelf.common.training.order_digest import summand_digest

SUMS_FOLDER = "secure-sums"


class SecureSums:
    """A store in the secure sums of all its runs.

    Args:
        home: The store's home.
        least: Stores that a sum must be over at least, see the policy's `secure_sum_least`.
        check_allowed: Raises StoreError if the policy does not allow an order; called before the
            store gives keys or shares.
    """

    def __init__(self, home: Path, least: int, check_allowed: Callable[[SumOrder], None]) -> None:
        self._home = home
        self._least = least
        self._check_allowed = check_allowed
        self._peer: PeerIdentity | None = None
        self._memories: dict[tuple[str, Purpose], SumMemory] = {}

    def answer(self, order: SumOrder) -> SumAnswer:
        """Take a step of a secure sum.

        Raises:
            StoreError: The policy forbids it, or the step is not taken: code `secure-sum`.
            ConfigError: The store's peer key, or its list of revoked stores, is damaged.
            OSError: The memory cannot be written.
        """
        try:
            return self._answer(order)
        except SecureSumError as error:
            raise refusal(error) from None

    def masked(
        self, order: TrainOrder | EvaluateOrder, work: Callable[[], Summand]
    ) -> MaskedSummand:
        """Do the work that is ordered, and return its result under masks.

        Raises:
            StoreError: The step is not taken: code `secure-sum`.
        """
        try:
            sums, address, boxes = self._expected(order)
            summand = work()
            masked = sums.mask(address, boxes, ring_elements(summand.vector))
        except SecureSumError as error:
            raise refusal(error) from None
        return MaskedSummand(
            summand.store, order.round, address.attempt, ring_tensor(masked), summand.seconds
        )

    def _answer(self, order: SumOrder) -> SumAnswer:
        sums, address = self._sums(order)
        stores = 0
        match order.step:
            case "keys":
                self._check_allowed(order)
                self._keep_revoked(order.content)
                content = sums.advertise(address).to_bytes()
                stores = self._least
            case "shares":
                self._check_allowed(order)
                roster = Roster.from_bytes(order.content)
                content = sums.share(address, roster.order, roster)
            case "unmask":
                try:
                    survivors = read_survivors(order.content)
                except ValueError:
                    raise SecureSumError("malformed", "The survivors are no list.") from None
                content = sums.unmask(address, survivors).to_bytes()
                stores = len(survivors)
        sums.forget(order.committed)
        return SumAnswer(
            self._identity().certificate.store,
            order.round,
            order.attempt,
            order.step,
            content,
            stores,
        )

    def _expected(self, order: TrainOrder | EvaluateOrder) -> tuple[SumStore, SumAddress, bytes]:
        """Return what is needed to mask the answer to an order, before any work is done for it.

        Raises SecureSumError if the stores of the sum have got another order.
        """
        part = order.secure_sum
        if part is None or order.terms is None:
            raise SecureSumError(
                "malformed", "An order of a run with a secure sum has no part in one."
            )
        purpose = purpose_of(order)
        step = SumOrder(order.plan, order.round, purpose, part.attempt, "shares", b"")
        sums, address = self._sums(step)
        attempt = self._memories[order.plan.run_id, purpose].find(address)
        if attempt is None or attempt.roster is None:
            raise SecureSumError(
                "out-of-turn", f"Round {order.round} of the secure sum was not begun here."
            )
        if attempt.roster.order != summand_digest(order):
            raise SecureSumError(
                "wrong-roster",
                "The other stores of the secure sum have got another order than this one.",
            )
        return sums, address, part.boxes

    def _sums(self, order: SumOrder) -> tuple[SumStore, SumAddress]:
        peer = self._identity()
        chain = peer.certificate.chain
        run = order.plan.run_id
        address = SumAddress(chain, run, order.purpose, order.round, order.attempt)
        key = run, order.purpose
        path = private_directory(self._home / SUMS_FOLDER) / f"{run}.{order.purpose}.json"
        if key not in self._memories:
            self._memories[key] = (
                SumMemory.from_bytes(path.read_bytes())
                if path.exists()
                else SumMemory(chain, run, order.purpose)
            )

        def keep(memory: bytes) -> None:
            write_private(path, memory.decode())
            self._memories[key] = SumMemory.from_bytes(memory)

        sums = SumStore(
            PeerSigner(peer), self._recogniser(), self._least, self._memories[key], keep
        )
        return sums, address

    def _identity(self) -> PeerIdentity:
        if self._peer is None:
            self._peer = load_peer(self._home)
        if self._peer is None:
            raise StoreError(
                "secure-sum",
                "This store has no peer key, by which other stores of a secure sum would recognise"
                " it; ask the chain for a new kit that is made with the office key, and join with"
                " it.",
                "no-peer-key",
            )
        return self._peer

    def _keep_revoked(self, content: bytes) -> None:
        if not content:
            return
        try:
            revoked = RevocationList.model_validate_json(content)
            RevokedPeers(self._home, self._identity()).keep(revoked)
        except ValidationError:
            raise SecureSumError("malformed", "The list of revoked stores is no list.") from None
        except ValueError as error:
            raise SecureSumError("unknown-store", f"{error}.".capitalize()) from None

    def _recogniser(self) -> PeerVerifier:
        peer = self._identity()
        return PeerVerifier(
            peer.certificate.chain, peer.office, RevokedPeers(self._home, peer).keys
        )


class PeerSigner:
    """A store's own peer key as a `common.privacy.secure_sum.identities.SumSigner`."""

    def __init__(self, peer: PeerIdentity) -> None:
        self._peer = peer
        self.store = peer.certificate.store
        self.certificate = peer.certificate.model_dump_json().encode()

    def sign(self, statement: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes."""
        return bytes.fromhex(self._peer.sign(statement))


def refusal(error: SecureSumError) -> StoreError:
    """Return a refused step as the failure that leaves the store: its code, and no text."""
    return StoreError("secure-sum", str(error), error.code)
