"""The runtime: the interface through which the round loop reaches stores."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    StoreInfo,
    SumTotal,
    TrainOrder,
    Update,
)


class RoundSummedError(Exception):
    """Stores have opened a secure sum of a round, and it is lost here; no round is summed twice.

    Args:
        round_number: the round, which has to be skipped
    """

    def __init__(self, round_number: int) -> None:
        super().__init__(round_number)
        self.round = round_number


class StorePresence(Protocol):
    """The stores that are there, and that may be asked."""

    def stores(self) -> Mapping[str, StoreInfo]:
        """Return the stores present now, by name."""

    def retry_after(self) -> float:
        """Return the seconds until all stores that asked for a rest may be asked again.

        It is 0 if none did.
        """

    def held_back(self) -> Mapping[str, str]:
        """Return {store: reason in plain words} for connected stores that may not be asked now."""


class Runtime(StorePresence, Protocol):
    """Stores that can be asked to train and to evaluate, by any means of carrying orders."""

    def prefetch_training(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Callable[[], float] | None:
        """Announce that `order` will most likely be the next call of `train`.

        Idle workers may start it early. Results must equal those of a run without the announcement.

        Args:
            order:  the order
            stores: names of its stores

        Returns:
            A function for the end of the evaluation that follows. It returns how many of the
            seconds since
            this call went into the announced training. None: nothing is started, or it cannot be
            measured.
        """

    def train(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Iterable[Update | SumTotal | Failure]:
        """Let stores train.

        Args:
            order:  the order
            stores: names of the stores that get it

        Returns:
            One answer per store, in any order; bounded by `cohort.timeout`. If the order has terms,
            there are no updates, but one sum of all.

        Raises:
            StoppedError: the run has been asked to end, and too few answers are in sight.
        """

    def exclude(self, store: str, why: str) -> None:
        """Leave a store out of `stores` from now on, present or not, and tell it the reason.

        Args:
            store: name of the store
            why:   the reason in plain words
        """

    def evaluate(
        self, order: EvaluateOrder, stores: Sequence[str]
    ) -> Iterable[Evaluation | SumTotal | Failure]:
        """Let stores evaluate a model.

        Args:
            order:  the order
            stores: names of the stores that get it

        Returns:
            One answer per store, in any order; bounded by `cohort.timeout`. If the order has terms,
            there are no evaluations, but one sum of all.
        """
