"""The updates of stores as the server sees them, made by the product's own training."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.client.worker.worker import Trainer
from fedshelf.common import strategies
from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import TrainOrder, Update
from fedshelf.server.training.setup import InitialState

# One name in all trials: it decides the order of photos and the flips, and the server knows it.
STORE = "store"


class _NoStates:
    """States of stores that take part once: nothing of one trial reaches another."""

    def load(self, run_id: str, store: str, round_number: int) -> dict[str, Tensor]:
        """Return no state."""
        return {}

    def save(self, order: TrainOrder, store: str, state: Mapping[str, Tensor]) -> None:
        """Keep nothing."""


@dataclass(frozen=True)
class ServerView:
    """A server that orders round 1 of a run, and receives an update.

    Attributes:
        start: the run's start
        trainer: carries out orders as a store does
        pool: photos from which stores and the server's own trials are drawn
        order: the order of round 1
    """

    start: InitialState
    trainer: Trainer
    pool: Images
    order: TrainOrder

    @classmethod
    def of_run(cls, start: InitialState, pool: Images) -> "ServerView":
        """Return the view of a run's server.

        Args:
            start: the run's start
            pool: photos, with features in place of pixels if the run trains on features
        """
        strategy = strategies.build(start.plan.config.strategy, start.layout)
        state = strategy.init_server_state(start.params, start.layout.trainable)
        order = TrainOrder(start.plan, 1, start.params, strategy.extras(state))
        device = torch.device(start.plan.config.run.device)
        return cls(start, Trainer(device, _NoStates()), pool, order)

    @property
    def closed_form(self) -> bool:
        """True if stores send sums, and train nothing."""
        config = self.start.plan.config
        return strategies.build(config.strategy, self.start.layout).closed_form

    def update(self, photos: NDArray[np.int64]) -> Update:
        """Return the update of a store with these photos of the pool.

        Args:
            photos: positions in the pool
        """
        images = self.pool.select(torch.from_numpy(np.sort(photos)))
        return self.trainer.train(self.order, STORE, images)

    def change(self, photos: NDArray[np.int64]) -> Tensor:
        """Return everything that an update changes, as one vector: float32 [V].

        These are the trained parameters less those of the order, then the strategy's tensors.
        """
        update = self.update(photos)
        trained = self.start.layout.trainable
        parts = [(update.params - self.order.params)[:trained]]
        parts += [update.extras[name].flatten().float() for name in sorted(update.extras)]
        return torch.cat(parts)
