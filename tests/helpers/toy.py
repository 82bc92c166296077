"""Stores whose losses are sums of squares, for algorithms from end to end without a network."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import TrainConfig
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies import LocalTrainingSummary, Strategy
from fedshelf.common.training.optimizers import SGD

# strategies whose stores train; the others solve for a head, of a network that has one
TRAINED = [name for name, strategy in strategies.STRATEGIES.items() if not strategy.closed_form]
SGD_WITHOUT_MOMENTUM = TrainConfig(momentum=0.0, lr=0.1)


def told(
    strategy: Strategy, start: Tensor, cohort: Sequence[Update], trainable: int
) -> list[Update]:
    """The updates with what the strategy's own client half adds, as after three steps at a rate of
    0.1.
    """
    sent = strategy.extras(strategy.init_server_state(start, trainable))
    steps = 3
    found = []
    for update in cohort:
        local = strategy.on_train_begin(start[:trainable], sent, {})
        run = LocalTrainingSummary(
            start[:trainable], update.params[:trainable], steps, 0.1, update.num_examples
        )
        found.append(replace(update, extras=strategy.on_train_end(run, local, {})[0]))
    return found


class Toy:
    """Stores with losses |w - target|^2 / 2, which train by steps of SGD; all state as the real
    halves keep it.

    steps, images: of each store
    """

    def __init__(
        self,
        strategy: Strategy,
        targets: Mapping[str, Tensor],
        train: TrainConfig = SGD_WITHOUT_MOMENTUM,
        *,
        steps: Mapping[str, int],
        images: Mapping[str, int],
    ) -> None:
        self.strategy = strategy
        self._targets = targets
        self._train = train
        self._steps = steps
        self.params = torch.zeros_like(next(iter(targets.values())))
        self.memory: Tensors = strategy.init_server_state(self.params, len(self.params))
        self.states: dict[str, Tensors] = {store: {} for store in targets}
        self.present = {
            store: StoreInfo(store, {"shoe": count}, 0, 0) for store, count in images.items()
        }

    def round(self, cohort: Sequence[str] = ()) -> list[Update]:
        """One round of these stores, or of all."""
        sent = self.strategy.extras(self.memory)
        updates = [self._trained(store, sent) for store in cohort or list(self._targets)]
        half = self.strategy
        size = len(self.params)
        self.params, self.memory = half.update_global_model(
            self.params, updates, self.memory, size, self.present
        )
        return updates

    def _trained(self, store: str, sent: Tensors) -> Update:
        weights = self.params.clone()
        optimizer = SGD(self._train)
        local = self.strategy.on_train_begin(self.params, sent, self.states[store])
        for _ in range(self._steps[store]):
            gradient = weights - self._targets[store]
            self.strategy.correct_gradient(gradient, weights, local)
            optimizer.step(weights, gradient, self._train.lr)
        images = self.present[store].num_examples
        run = LocalTrainingSummary(
            self.params, weights, self._steps[store], self._train.lr, images, self._train.momentum
        )
        extras, self.states[store] = self.strategy.on_train_end(run, local, self.states[store])
        return Update(store, 1, weights, images, 0.0, 0.0, extras)
