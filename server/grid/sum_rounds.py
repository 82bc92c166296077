"""The secure sum over a grid: its steps as orders to the stores, one after the other.

    keys -> shares -> order -> unmask

The answers to "unmask" bring the keys for the next round, so that from the second round on a round
has three steps. The keys for the first one are asked for while the server, or another sum, is
still at work. A store that fails at a step is out of the attempt. If too few are left, the
attempt ends, and another one begins with the next cohort.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from fedshelf.common.privacy.peers import PeerVerifier
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.messages import Advert, Purpose
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError, SumFault
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Failure,
    Plan,
    SumTotal,
    TrainOrder,
)
from fedshelf.common.protocol.secure_sum import SumAnswer, SumOrder
from fedshelf.server.grid.sum_attempt import AskStores, SumAttempt
from fedshelf.server.ipc.office_file import OfficeFacts
from fedshelf.server.results.sum_spool import SumSpool
from fedshelf.server.runtime import RoundSummedError
from fedshelf.server.updates.secure_sums import LEAST_STORES

ALREADY_SUMMED: SumFault = "already-summed"


@dataclass(frozen=True)
class _KeysAhead:
    """Keys that were asked for before their round.

    Attributes:
        round, attempt: that they are for
        revoked: the list of revoked stores that went along
        stores: names of those that were asked
        answers: are waited for when they are read
    """

    round: int
    attempt: int
    revoked: bytes
    stores: frozenset[str]
    answers: Iterable[SumAnswer | Failure]


class SumRounds:
    """Plays the secure sums of one run and purpose.

    Args:
        ask: sends an order to stores, and yields their answers
        spool: the server's memory of the sums
        office: returns the chain's facts on its office; None: it has none, or there is no chain
    """

    def __init__(
        self, ask: AskStores, spool: SumSpool, office: Callable[[], OfficeFacts | None]
    ) -> None:
        self._ask = ask
        self._spool = spool
        self._office = office
        self._next_round = 0
        self._next_adverts: dict[str, Advert] = {}  # for the first attempt at `_next_round`
        self._told = b""  # the list of revoked stores that stores have got
        self._least: dict[str, int] = {}  # stores among which a store wants to be hidden, by store
        self._ahead: _KeysAhead | None = None

    def ask_ahead(
        self, plan: Plan, purpose: Purpose, round_number: int, stores: Collection[str]
    ) -> None:
        """Ask stores for their keys for a round that is about to come; do not wait for them.

        Nothing is done if the keys are there, or if stores were asked to open the round's sum.

        Args:
            plan: as the stores get it
            purpose: of the sums
            round_number: the round
            stores: names of the stores that may be in its cohort

        Raises:
            RunError: the memory of the sums is damaged
            OSError: it cannot be written
        """
        is_asked = self._ahead is not None and self._ahead.round == round_number
        if is_asked or round_number == self._next_round or self._spool.asked(round_number):
            return
        attempt = self._spool.begin(round_number)
        revoked = self._revoked()
        order = SumOrder(
            replace(plan, frozen=None), round_number, purpose, attempt, "keys", revoked
        )
        answers = self._ask(order, stores, SumAnswer)
        self._ahead = _KeysAhead(round_number, attempt, revoked, frozenset(stores), answers)

    def play(
        self, order: TrainOrder | EvaluateOrder, stores: Sequence[str], zeros: RingVector
    ) -> Iterator[SumTotal | Failure]:
        """Yield a failure for each store whose answer is not in the sum, then the sum, if any.

        If stores were asked to open a sum of this round before, it is asked for again.

        Args:
            order: with terms, as the stores get it
            stores: names of the cohort
            zeros: ring elements [Q], all zero: the type and length of a store's vector

        Raises:
            RoundSummedError: stores have opened a sum of the round that is lost here
            RunError: the memory of the sums is damaged
            OSError: it cannot be written
        """
        asked = self._spool.asked(order.round)
        ahead = self._ahead if self._ahead and self._ahead.round == order.round else None
        self._ahead = None
        begun = asked or ahead
        number = begun.attempt if begun else self._spool.begin(order.round)
        attempt = SumAttempt(order, number, self._ask, self._spool)
        total = None
        try:
            if asked is not None:
                total = attempt.open_again(asked)
            else:
                total = self._sum(attempt, ahead, stores, zeros)
        except SecureSumError as error:
            if error.code == ALREADY_SUMMED:
                raise RoundSummedError(order.round) from error
            attempt.fail_others(stores, str(error))
        # one store alone that says so does not keep the others from their sum
        if total is None and any(
            failure.detail == ALREADY_SUMMED for failure in attempt.failed.values()
        ):
            raise RoundSummedError(order.round)
        yield from (attempt.failed[store] for store in sorted(attempt.failed))
        if total is not None:
            self._next_round = order.round + 1
            self._next_adverts = attempt.next_adverts
            yield total

    def _sum(
        self,
        attempt: SumAttempt,
        ahead: _KeysAhead | None,
        stores: Sequence[str],
        zeros: RingVector,
    ) -> SumTotal:
        office = self._office()
        revoked = self._revoked()
        is_next = attempt.order.round == self._next_round and attempt.number == 0
        # a new list of revoked stores goes to all stores, with the question for their keys
        known = self._next_adverts if is_next and revoked == self._told else {}
        self._told = revoked
        adverts = {store: known[store] for store in stores if store in known}
        asked: frozenset[str] = frozenset()
        if ahead is not None and ahead.revoked == revoked:
            asked = ahead.stores.intersection(stores)
            found, least = attempt.take_keys(ahead.answers, asked)
            adverts |= found
            self._least |= least
        missing = [store for store in stores if store not in known and store not in asked]
        found, least = attempt.ask_keys(missing, revoked)
        self._least |= least
        verify = PeerVerifier(office.chain, office.key, office.revoked_keys) if office else None
        adverts = attempt.check_adverts(adverts | found, verify)
        most = max((self._least.get(store, 0) for store in adverts), default=0)
        attempt.share(adverts, max(LEAST_STORES, most), zeros)
        attempt.work()
        return attempt.open()

    def _revoked(self) -> bytes:
        office = self._office()
        return office.revoked if office else b""
