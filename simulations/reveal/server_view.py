"""Updates and sums as the server receives them, made by the product's own training."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import strategies
from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.seeding import rng
from fedshelf.server.training.setup import InitialState

# One name in all trials: it decides the order of photos and the flips, and the server knows it.
STORE = "store"
CONCENTRATION = 0.5  # of the Dirichlet distribution of the stores' class shares

Photos = NDArray[np.int64]
"""Positions of photos in the pool, [N]."""


class _NoStates:
    """States of stores that take part once: nothing of one trial reaches another."""

    def load(self, run_id: str, store: str, round_number: int) -> dict[str, Tensor]:
        """Return no state."""
        return {}

    def save(self, order: TrainOrder, store: str, state: Mapping[str, Tensor]) -> None:
        """Keep nothing."""


@dataclass(frozen=True)
class ServerView:
    """A server that orders round 1 of a run, and receives updates or sums of them.

    Attributes:
        start: the run's start
        trainer: carries out orders as a store does
        pool: photos from which stores and the server's own trials are drawn
        order: the order of round 1
        others: changes of other stores, float32 [V] each; each sum has `stores` - 1 of them
        stores: number of stores whose sum the server receives; 1: it receives single updates
    """

    start: InitialState
    trainer: Trainer
    pool: Images
    order: TrainOrder
    others: tuple[Tensor, ...] = ()
    stores: int = 1

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

    def with_others(self, others: tuple[Tensor, ...], stores: int) -> "ServerView":
        """Return the view of a server that receives sums of so many stores' updates."""
        assert len(others) >= stores - 1, (len(others), stores)
        return replace(self, others=others, stores=stores)

    @property
    def closed_form(self) -> bool:
        """True if stores send sums, and train nothing."""
        config = self.start.plan.config
        return strategies.build(config.strategy, self.start.layout).closed_form

    def received(self, photos: Photos) -> Tensor:
        """Return what the server receives if a store has these photos, float32 [V].

        Of a sum it is the mean over the stores; the others of them are drawn anew for other photos.
        """
        change = self.change(photos)
        if self.stores == 1:
            return change
        address = hashlib.sha256(np.sort(photos).tobytes()).hexdigest()
        drawn = rng(0, "reveal", "others", address).permutation(len(self.others))
        summands = [change, *(self.others[index] for index in drawn[: self.stores - 1])]
        return torch.stack(summands).mean(dim=0)

    def change(self, photos: Photos) -> Tensor:
        """Return everything that a store's update changes, as one vector: float32 [V].

        These are the trained parameters less those of the order, then the strategy's tensors.
        """
        return self._trained(self.order, photos)

    def alone(self, photo: int) -> Tensor:
        """Return the change by one photo, as the server makes it: without any noise."""
        plan = self.order.plan
        privacy = plan.config.privacy
        if not privacy.is_on:
            return self._trained(self.order, np.array([photo]))
        surely = privacy.model_copy(update={"noise": 0.0, "rate": 1.0})
        config = plan.config.model_copy(update={"privacy": surely})
        order = replace(self.order, plan=replace(plan, config=config))
        return self._trained(order, np.array([photo]))

    def extras(self, change: Tensor) -> dict[str, Tensor]:
        """Return the strategy's tensors in a change [V], by name."""
        layout = self.start.layout
        strategy = strategies.build(self.start.plan.config.strategy, layout)
        shapes = strategy.expected_extras(layout.trainable)
        sizes = [int(np.prod(shapes[name], dtype=np.int64)) for name in sorted(shapes)]
        parts = change[layout.trainable :].split(sizes)
        return {
            name: part.view(shapes[name]) for name, part in zip(sorted(shapes), parts, strict=True)
        }

    def _trained(self, order: TrainOrder, photos: Photos) -> Tensor:
        images = self.pool.select(torch.from_numpy(np.sort(photos)))
        update = self.trainer.train(order, STORE, images)
        trained = self.start.layout.trainable
        parts = [(update.params - order.params)[:trained]]
        parts += [update.extras[name].flatten().float() for name in sorted(update.extras)]
        return torch.cat(parts)


def draw_store(
    view: ServerView, photos: Photos, images: int, random: np.random.Generator
) -> Photos:
    """Return photos of a store with class shares from a Dirichlet distribution, at least one.

    Args:
        view: the server's view
        photos: from which they are drawn
        images: number of them, fewer if a class has too few
        random: source of the draws
    """
    labels = view.pool.targets()[torch.from_numpy(photos)].numpy()
    classes = len(view.start.plan.spec.classes)
    counts = random.multinomial(images, random.dirichlet(np.full(classes, CONCENTRATION)))
    chosen = []
    for label, count in enumerate(counts):
        of_class = photos[labels == label]
        chosen.append(random.permutation(of_class)[:count])
    drawn = np.concatenate(chosen)
    return drawn if len(drawn) else photos[:1]
