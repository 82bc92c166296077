"""The runtime: all that the round loop knows of where and how stores work."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, Failure, StoreInfo, TrainOrder, Update


class Runtime(Protocol):
    """Stores that can be asked to train and to evaluate, whatever carries the orders to them."""

    def stores(self) -> Mapping[str, StoreInfo]:
        """The stores present now, by name."""

    def expect(self, order: TrainOrder, stores: Sequence[str]) -> Callable[[], float] | None:
        """`train` will be asked for this next, unless the run ends: what is idle until then may begin.

        Returns what tells, at the end of the evaluation that follows, how many of the seconds since then went into
        what was expected; None: nothing is begun, or nobody can tell.
        """

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterable[Update | Failure]:
        """One answer per store asked, in any order; bounded by `cohort.timeout`.

        Raises StoppedError if the run has been asked to end, and too few answers are in sight.
        """

    def resting(self) -> float:
        """Seconds until all stores that asked to be left alone for a while may be asked again; 0: none did."""

    def held_back(self) -> Mapping[str, str]:
        """Why stores that are connected may not be asked now, by name, in plain words."""

    def set_aside(self, store: str, why: str) -> None:
        """Leave a store out of `stores` from now on, whether it is present or not, and tell it why."""

    def evaluate(self, order: EvaluateOrder, stores: Sequence[str]) -> Iterable[Evaluation | Failure]:
        """One answer per store asked, in any order; bounded by `cohort.timeout`."""
