"""The outcome of a round's training, before it becomes a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedshelf.common.protocol.messages import Failure, StoreInfo, TrainOrder, Update


@dataclass(frozen=True)
class RoundOutcome:
    """An order, and what came of it.

    asked:   the cohort, in store order
    updates: the good ones, in store order
    present: all stores that could have been asked, with as many images as they count for
    norms:   of what training changed, by store that has a good update, as it came
    clipped: by which factor updates were made smaller, by store
    """

    order: TrainOrder
    asked: Mapping[str, StoreInfo]
    updates: Sequence[Update]
    failed: Mapping[str, Failure]
    present: Mapping[str, StoreInfo]
    norms: Mapping[str, float]
    clipped: Mapping[str, float] = field(default_factory=dict)

    def without(self, store: str, why: str, updates: Sequence[Update]) -> "RoundOutcome":
        """The same without the update of one store. updates: the others"""
        failed = {**self.failed, store: Failure(store, "invalid", why)}
        norms = {name: norm for name, norm in self.norms.items() if name != store}
        return replace(self, updates=updates, failed=dict(sorted(failed.items())), norms=norms)
