"""Local training of a group of stores, all stepping together: `common.training.fit.fit` with rows
for stores.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.config.schedules import learning_rate
from fedshelf.common.images.augment import BatchBounds, Blend, augment, normalise
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.seeding import derive
from fedshelf.common.training.fit import Network
from fedshelf.common.training.loss import image_losses, regularise
from fedshelf.common.training.optimizers import OPTIMIZERS, lr_shares
from fedshelf.simulations.engines.batched.client_hooks import StackedClientHooks
from fedshelf.simulations.engines.batched.cuda_graph import StepGraph
from fedshelf.simulations.engines.batched.network import StackedNetwork
from fedshelf.simulations.engines.batched.schedule import BatchSchedule, Inputs

# steps of one shape before it is recorded: recording costs about as much as some steps
REPEATS = 20
GRAPHS = 32  # shapes recorded at most

LOG = logging.getLogger("fedshelf.batched")


@dataclass(frozen=True)
class Group:
    """Stores that train together, in the order of the schedule.

    array:    images that the schedule's rows select from
    schedule: on the device, as `array`
    states:   state of the strategy's client half of each store, on the device
    offsets:  float32 [S, C], added to each store's scores; None: nothing
    """

    names: list[str]
    array: Images
    schedule: BatchSchedule
    states: Sequence[Tensors]
    offsets: Tensor | None = None


class StackedTraining:
    """Training of up to `stores` stores at once, in memory that stays in place.

    mixed: bfloat16 arithmetic in the network
    """

    def __init__(self, network: Network, config: RunConfig, stores: int, *, mixed: bool) -> None:
        self.room = stores
        self.network = StackedNetwork(network, stores)
        self.halves = StackedClientHooks(strategies.build(config.strategy, network.layout), stores)
        self._spec = network.spec
        self._config = config
        self._mixed = mixed
        rates = lr_shares(config.train, network.layout, network.device)
        self._optimizer = OPTIMIZERS[config.train.optimizer](config.train, rates)
        self._loss_sums = torch.zeros(stores, device=network.device)
        adds = config.strategy.absent != "full"
        shape = (stores, len(network.spec.classes))
        self._offsets = torch.zeros(shape, device=network.device) if adds else None
        self._pool = torch.cuda.graph_pool_handle() if network.device.type == "cuda" else None
        # recorded steps read the second
        self._lr = 0.0
        self._lr_there = torch.zeros(1, device=network.device)
        self._seen: Counter[tuple[object, ...]] = Counter()
        self._graphs: dict[tuple[object, ...], StepGraph] = {}

    def run(
        self, group: Group, round: int, start: Tensor, extras: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Train from `start` [P]; return the weights [S, P] and the last epoch's loss sums [S].

        Both are overwritten by the next group. Nothing waits for the device.
        """
        stores = len(group.names)
        config = self._config
        if not self.halves.on_train_begin(start, extras, group.states):
            self._graphs.clear()  # they read the earlier tensors
            self._seen.clear()
        self._lr = learning_rate(config.train, round, config.run.rounds)
        self._lr_there.fill_(self._lr)
        self.network.weights[:stores] = start
        self.network.address(
            [derive(config.run.seed, "dropout", round, name) for name in group.names]
        )
        self._optimizer.restart(self.network.weights)
        self._loss_sums.zero_()
        if self._offsets is not None and group.offsets is not None:
            self._offsets[:stores] = group.offsets
        for number, active in enumerate(group.schedule.stores):
            if active != self.network.stores:
                self.network.narrow(active)
            self._take(group.array, group.schedule.at(number))
        return self.network.weights[:stores], self._loss_sums[:stores]

    def _take(self, array: Images, inputs: Inputs) -> None:
        """Take one step, recorded if it came often enough."""

        def step(given: Inputs) -> None:
            self._step(array, given)

        key = (inputs.rows.shape, array.pixels.data_ptr())
        if key in self._graphs:
            return self._graphs[key](inputs)
        self._seen[key] += 1
        if self._pool is not None and self._seen[key] > REPEATS and len(self._graphs) < GRAPHS:
            graph = StepGraph(step, inputs)
            try:
                graph.record(self._pool)
                self._graphs[key] = graph
                return graph(inputs)
            except RuntimeError as error:
                self._pool = None
                LOG.warning(
                    "Steps cannot be recorded on this device (%s); they are started one by one.",
                    error,
                )
        return step(inputs)

    def _step(self, array: Images, inputs: Inputs) -> None:
        stores = len(inputs.rows)
        weights = self.network.weights[:stores]
        pixels, targets, blend = _images_of(array, inputs, self._config, self._spec)
        with torch.autocast(
            weights.device.type, torch.bfloat16, enabled=self._mixed, cache_enabled=False
        ):
            added = None
            if self._offsets is not None:
                added = self._offsets[:stores].repeat_interleave(inputs.rows.shape[1], dim=0)
            each = image_losses(
                self.network.logits(pixels), targets, self._config.train, blend, added
            )
            losses = torch.where(inputs.shares > 0, each.view(stores, -1) * inputs.shares, 0).sum(
                dim=1
            )
        gradient = self.network.gradient(losses.sum())
        regularise(gradient, weights, self._config.train)
        self.halves.correct_gradient(gradient, weights)
        self._optimizer.step(weights, gradient, self._lr if self._pool is None else self._lr_there)
        self._loss_sums[:stores].addcmul_(losses.detach(), inputs.counts)


def _images_of(
    array: Images, inputs: Inputs, config: RunConfig, spec: ModelSpec
) -> tuple[Tensor, Tensor, Blend | None]:
    """Return augmented and normalised pixels [S * B, channels, H, W], targets [S * B] and the blend
    of a step.
    """
    rows = inputs.rows.flatten()
    pixels = array.pixels.index_select(0, rows)
    targets = array.labels.index_select(0, rows)
    pixels, blend = augment(
        pixels, targets, config.data, inputs.draws.flatten(0, 1), _batches(inputs)
    )
    pixels = normalise(pixels, spec.mean, spec.std)
    # An image whose scores overflow would make NaN of a share of 0, in the loss or in the backward
    # pass.
    unneeded = (inputs.shares == 0).view(-1, 1, 1, 1)
    return pixels.masked_fill_(unneeded, 0), targets, blend


def _batches(inputs: Inputs) -> BatchBounds:
    """Return the stores' batches in [S * B]; unused places count for none, and mix with any."""
    stores, width = inputs.rows.shape
    first = torch.arange(stores, device=inputs.rows.device) * width
    sizes = (inputs.shares > 0).sum(dim=1).clamp(min=1)
    return BatchBounds(first.repeat_interleave(width), sizes.repeat_interleave(width))
