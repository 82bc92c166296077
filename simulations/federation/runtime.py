"""The part of a runtime that all engines share: simulated stores never rest, are never busy
elsewhere, and have nobody to tell when they are left out.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import Plan, StoreInfo, TrainOrder
from fedshelf.common.strategies.shared.class_skew import logit_adjustment
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.simulations.federation.federation import Federation


class FederationRuntime:
    """The stores of a federation, as a runtime (see `server.runtime`) presents them.

    An engine adds `train`, `evaluate`, `judge` and `close`.
    """

    def __init__(self, federation: Federation, plan: Plan) -> None:
        keep_freed_memory()  # before any fork
        self._federation = federation
        self._plan = plan
        self._infos = federation.infos()

    def stores(self) -> Mapping[str, StoreInfo]:
        """Return all stores, except those excluded."""
        return self._infos

    def retry_after(self) -> float:
        """Return 0: simulated stores never rest."""
        return 0.0

    def held_back(self) -> Mapping[str, str]:
        """Return none: simulated stores are never busy otherwise."""
        return {}

    def exclude(self, store: str, why: str) -> None:
        """Leave the store out; there is nobody to tell."""
        self._infos.leave_out(store)

    def prefetch_training(
        self, order: TrainOrder, stores: Sequence[str]
    ) -> Callable[[], float] | None:
        """Start nothing early, as fits engines whose workers are not idle during an evaluation."""
        return None

    def _largest_first(self, stores: Sequence[str]) -> list[str]:
        """Return the stores by falling number of training images, so that no worker is left with a
        large one at the end.
        """
        return sorted(stores, key=lambda store: -self._infos[store].num_examples)

    def _held_out(self, store: str, split: str) -> Images:
        """Return the images of the split "validation" or "test" of a store."""
        data = self._federation.stores[store]
        return data.test if split == "test" else data.validation

    def _num_held_out(self, stores: Sequence[str], split: str) -> list[int]:
        """Return the number of images of the split "validation" or "test" of each store."""
        return [getattr(self._infos[store], split) for store in stores]

    def _adjustment(self, store: str) -> Tensor | None:
        """Return the adjustment of a store's class scores: float32 [C], or None."""
        return logit_adjustment(self._federation.stores[store].train, self._plan)
