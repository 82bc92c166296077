"""A strategy's client half for many stores at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.strategies import LocalTrainingSummary, Strategy


class StackedClientHooks:
    """The result of `on_train_begin` for each store of a group, and the hooks that need it.

    If no store has any state, `on_train_begin` gives the same for all and is called once. Otherwise
    each tensor that it gives becomes [S, ...]. Tensors stay at one place in memory from round to
    round, for steps that were recorded.

    max_stores: most stores of a group
    """

    def __init__(self, strategy: Strategy, max_stores: int) -> None:
        self._strategy = strategy
        self._max_stores = max_stores
        self._local: dict[str, Tensor] = {}
        self._shapes: dict[str, torch.Size] = {}  # of one store's tensors
        self._is_per_store = False  # whether each store has its own

    def on_train_begin(self, start: Tensor, extras: Tensors, states: Sequence[Tensors]) -> bool:
        """Apply the hook `on_train_begin` to each store of a group.

        Args:
            start: the trained part of the global model, float32 [T].
            extras: the strategy's tensors for the stores.
            states: state of each store; all empty if the strategy has none.

        Returns:
            Whether all tensors are where they were for the last group, so that steps recorded then
            can be replayed.
        """
        self._is_per_store = any(states)
        if not self._is_per_store:
            return self._store_tensors(self._strategy.on_train_begin(start, extras, {}))
        locals_of_stores = [self._strategy.on_train_begin(start, extras, state) for state in states]
        self._shapes = {name: tensor.shape for name, tensor in locals_of_stores[0].items()}
        stacked = {}
        # a single number per store becomes [S, 1], to go with [S, T]
        for name, shape in self._shapes.items():
            rows = torch.stack([local[name] for local in locals_of_stores])
            rows = rows.view(len(rows), *(shape or (1,)))
            stacked[name] = rows.new_zeros(self._max_stores, *rows.shape[1:])
            stacked[name][: len(rows)] = rows
        return self._store_tensors(stacked)

    def correct_gradient(self, gradient: Tensor, weights: Tensor) -> None:
        """Apply the hook `correct_gradient` to the first S stores: [S, T] each."""
        stores = slice(len(gradient))
        local = (
            {name: tensor[stores] for name, tensor in self._local.items()}
            if self._is_per_store
            else self._local
        )
        self._strategy.correct_gradient(gradient, weights, local)

    def on_train_end(
        self, position: int, run: LocalTrainingSummary, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Apply the hook `on_train_end` to the store at `position` of the group."""
        local: Tensors = self._local
        if self._is_per_store:
            local = {
                name: tensor[position].view(self._shapes[name])
                for name, tensor in self._local.items()
            }
        return self._strategy.on_train_end(run, local, state)

    def _store_tensors(self, local: Mapping[str, Tensor]) -> bool:
        def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
            return {name: tensor.shape for name, tensor in tensors.items()}

        if shapes(local) != shapes(self._local):
            self._local = dict(local)
            return False
        for name, tensor in local.items():
            self._local[name].copy_(tensor)
        return True
