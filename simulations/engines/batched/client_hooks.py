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

    room: most stores of a group
    """

    def __init__(self, strategy: Strategy, room: int) -> None:
        self._strategy = strategy
        self._room = room
        self._local: dict[str, Tensor] = {}
        self._shapes: dict[str, torch.Size] = {}  # of one store's tensors
        self._own = False  # whether each store has its own

    def on_train_begin(self, start: Tensor, extras: Tensors, states: Sequence[Tensors]) -> bool:
        """Begin local trainings from `start` [T]; return whether all tensors are where they were in
        the last one.
        """
        self._own = any(states)
        if not self._own:
            return self._keep(self._strategy.on_train_begin(start, extras, {}))
        each = [self._strategy.on_train_begin(start, extras, state) for state in states]
        self._shapes = {name: tensor.shape for name, tensor in each[0].items()}
        stacked = {}
        # a single number per store becomes [S, 1], to go with [S, T]
        for name, shape in self._shapes.items():
            rows = torch.stack([local[name] for local in each]).view(len(each), *(shape or (1,)))
            stacked[name] = rows.new_zeros(self._room, *rows.shape[1:])
            stacked[name][: len(each)] = rows
        return self._keep(stacked)

    def correct_gradient(self, gradient: Tensor, weights: Tensor) -> None:
        """Apply the hook `correct_gradient` to the first S stores: [S, T] each."""
        stores = slice(len(gradient))
        own = (
            {name: tensor[stores] for name, tensor in self._local.items()}
            if self._own
            else self._local
        )
        self._strategy.correct_gradient(gradient, weights, own)

    def on_train_end(
        self, place: int, run: LocalTrainingSummary, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Apply the hook `on_train_end` to the store at `place` of the group."""
        local: Tensors = self._local
        if self._own:
            local = {
                name: tensor[place].view(self._shapes[name]) for name, tensor in self._local.items()
            }
        return self._strategy.on_train_end(run, local, state)

    def _keep(self, local: Mapping[str, Tensor]) -> bool:
        def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
            return {name: tensor.shape for name, tensor in tensors.items()}

        if shapes(local) != shapes(self._local):
            self._local = dict(local)
            return False
        for name, tensor in local.items():
            self._local[name].copy_(tensor)
        return True
