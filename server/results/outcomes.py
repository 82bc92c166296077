"""The outcome of a round's training, before it becomes a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedshelf.common.protocol.messages import Failure, StoreInfo, TrainOrder, Update


@dataclass(frozen=True)
class RoundOutcome:
    """An order, and the answers to it.

    asked:   the cohort, in store order
    updates: the good ones, in store order
    present: all stores that could have been asked, with the number of images that they count for
    norms:   norm of the change by training as it arrived, by store that has a good update
    clipped: factor by which an update was made smaller, by store
    """

    order: TrainOrder
    asked: Mapping[str, StoreInfo]
    updates: Sequence[Update]
    failed: Mapping[str, Failure]
    present: Mapping[str, StoreInfo]
    norms: Mapping[str, float]
    clipped: Mapping[str, float] = field(default_factory=dict)

    def without(self, store: str, why: str, updates: Sequence[Update]) -> "RoundOutcome":
        """Return the outcome without the update of one store.

        updates: those of the other stores
        """
        failed = {**self.failed, store: Failure(store, "invalid", why)}
        norms = {name: norm for name, norm in self.norms.items() if name != store}
        return replace(self, updates=updates, failed=dict(sorted(failed.items())), norms=norms)
