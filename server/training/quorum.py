"""The quorum of one round: how often it is tried for, and how long other stores are waited for.

Stores that are away or rest are waited for. A store whose answer is of no use is asked again at
once, as most such faults pass. After `MAX_COHORTS_PER_ROUND` cohorts with such a store, the round
goes on without it: with other stores that are there, or, if stores can still join, with the next
one within `cohort.wait` seconds. Meanwhile the store is asked once a minute.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.errors import StoppedError, StoresError
from fedshelf.common.protocol.failures import format_failures
from fedshelf.common.protocol.messages import Failure, StoreInfo
from fedshelf.common.text import sanitize
from fedshelf.server.results.run_status import RunObserver
from fedshelf.server.runtime import StorePresence
from fedshelf.server.training import cohort, rollback
from fedshelf.server.updates.screening import RoundOutcome

# cohorts with an answer of no use, after which the stores that gave one are left alone
MAX_COHORTS_PER_ROUND = 3
# failures that do not count as such an answer: absent stores are waited for
ABSENCE_CODES = frozenset({"unavailable", "timeout"})
LEAVE_ALONE_SECONDS = 60.0  # seconds for which a store is left alone after an answer of no use


@dataclass(frozen=True)
class _Rest:
    """A time in which a store is left alone.

    Attributes:
        until: value of time.monotonic(); infinite: to the end of the round
        why: the reason, and the time of day at which it ends
    """

    until: float
    why: str


class AvailableStores:
    """The stores of a runtime, without those that are left alone in this round.

    everybody: all stores of the runtime at the last look, by name
    """

    def __init__(self, runtime: StorePresence) -> None:
        self._runtime = runtime
        self._rests: dict[str, _Rest] = {}
        self.everybody: Mapping[str, StoreInfo] = {}

    def leave_alone(self, failure: Failure, deadline: float) -> str:
        """Leave a store alone for `LEAVE_ALONE_SECONDS`, and return until when in words.

        Args:
            deadline: value of time.monotonic() at which the round ends without a quorum; a store
                whose rest would be longer is not asked again
        """
        until = time.monotonic() + LEAVE_ALONE_SECONDS
        if until < deadline:
            when = time.strftime("until %H:%M", time.localtime(time.time() + LEAVE_ALONE_SECONDS))
        else:
            until, when = math.inf, "in this round"
        self._rests[failure.store] = _Rest(until, f"{failure.reason}, {when}")
        return when

    def stores(self) -> Mapping[str, StoreInfo]:
        """Return the stores that may be asked now, by name."""
        self.everybody = self._runtime.stores()
        resting = self._resting()
        return {name: info for name, info in self.everybody.items() if name not in resting}

    def retry_after(self) -> float:
        """Return the seconds until all stores that asked for a rest may be asked again."""
        return self._runtime.retry_after()

    def held_back(self) -> Mapping[str, str]:
        """Return {store: reason} for connected stores that may not be asked now."""
        alone = {name: why for name, why in self._resting().items() if name in self.everybody}
        return {**self._runtime.held_back(), **alone}

    def _resting(self) -> dict[str, str]:
        now = time.monotonic()
        return {name: rest.why for name, rest in self._rests.items() if rest.until > now}


class RoundQuorum:
    """The way of a round to enough updates.

    Args:
        error: returns the error that ends the run for these failures of the last cohort
        stop: returns whether the run has been asked to end
    """

    def __init__(
        self,
        runtime: StorePresence,
        round_number: int,
        config: RunConfig,
        observer: RunObserver,
        stop: Callable[[], bool],
        error: Callable[[Mapping[str, Failure]], Exception],
    ) -> None:
        self.needed = config.cohort.min_stores
        self._available = AvailableStores(runtime)
        self._round = round_number
        self._wait = config.cohort.wait
        self._can_grow = config.data.dataset == STORES_OWN
        self._observer = observer
        self._stop = stop
        self._error = error
        self._failed: Mapping[str, Failure] = {}
        self._began = time.monotonic()
        self._deadline: float | None = None  # once stores are left alone
        self._cohorts = 0
        self._refused_cohorts = 0

    def stores(self) -> tuple[Mapping[str, StoreInfo], list[str]]:
        """Wait for a quorum of stores that may be asked.

        Returns:
            All stores that are there, and the names of those that may be asked.

        Raises:
            StoresError: it did not come within `cohort.wait` seconds
            StoppedError: the run was asked to end before
        """
        left = self._wait if self._deadline is None else self._deadline - time.monotonic()
        try:
            available = cohort.wait_for_quorum(
                self._available,
                self._round,
                self.needed,
                max(left, 0.0),
                self._observer,
                self._stop,
            )
        except StoresError:
            if not self._failed:
                raise
            raise self._error(self._failed) from None
        return self._available.everybody, list(available)

    def missed(self, trained: RoundOutcome) -> None:
        """Take the outcome of a cohort that gave too few updates, and decide how to go on.

        Raises:
            StoresError: waiting is of no use, or was in vain
            StoppedError: the run was asked to end
        """
        self._failed = trained.failed
        told = f"{len(trained.stores)} of {self.needed} updates needed"
        self._observer.note(f"Round {self._round}: {told}; {format_failures(self._failed)}.")
        if self._stop():
            raise StoppedError(f"{told}; {format_failures(self._failed)}")
        refusing = [
            failure
            for failure in self._failed.values()
            if failure.code not in ABSENCE_CODES and not failure.retry_after
        ]
        self._cohorts += 1
        self._refused_cohorts += bool(refusing)
        if refusing and self._refused_cohorts >= MAX_COHORTS_PER_ROUND:
            if not trained.updates and rollback.is_divergence(self._failed):
                raise self._error(self._failed)  # the model is at fault, not its stores
            self._leave_alone(refusing)
        elif self._cohorts >= MAX_COHORTS_PER_ROUND and time.monotonic() > self._began + self._wait:
            raise self._error(self._failed)

    def _leave_alone(self, refusing: list[Failure]) -> None:
        """Go on without stores whose answers are of no use."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._wait if self._can_grow else now
        for failure in refusing:
            when = self._available.leave_alone(failure, self._deadline)
            self._observer.note(
                f"Round {self._round}: {sanitize(failure.store)} is left alone {when}."
            )
        if now < self._deadline:
            self._observer.note(
                f"Round {self._round}: other stores may take part for"
                f" {self._deadline - now:.0f} s; then the run ends."
            )
