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
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.images.augment import BatchBounds, Blend, normalise
from fedshelf.common.images.augment.views import drawn_view
from fedshelf.common.images.types import Images
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.seeding import derive
from fedshelf.common.training.fit import Network
from fedshelf.common.training.loss import regularise
from fedshelf.common.training.optimizers import OPTIMIZERS, lr_shares
from fedshelf.simulations.engines.batched.client_hooks import StackedClientHooks
from fedshelf.simulations.engines.batched.cuda_graph import StepGraph
from fedshelf.simulations.engines.batched.network import StackedNetwork
from fedshelf.simulations.engines.batched.schedule import BatchSchedule, Inputs

# steps of one shape before it is recorded: recording costs about as much as some steps
STEPS_BEFORE_RECORDING = 20
MAX_GRAPHS = 32  # shapes recorded at most

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

    Args:
        network: the network that is copied for each store.
        config: the run's settings.
        stores: most stores of a group.
        mixed: whether the network computes in bfloat16.
        on_features: whether the images come as features.
    """

    def __init__(
        self,
        network: Network,
        config: RunConfig,
        stores: int,
        *,
        mixed: bool,
        on_features: bool = False,
    ) -> None:
        self.max_stores = stores
        self.network = StackedNetwork(network, stores, on_features=on_features)
        self.hooks = StackedClientHooks(strategies.build(config.strategy, network.layout), stores)
        self._spec = network.spec
        self._task = network.task
        self._config = config
        self._mixed = mixed
        rates = lr_shares(config.train, network.layout, network.device)
        self._optimizer = OPTIMIZERS[config.train.optimizer](config.train, rates)
        self._loss_sums = torch.zeros(stores, device=network.device)
        has_offsets = config.strategy.absent != "full"
        shape = (stores, len(network.spec.classes))
        self._offsets = torch.zeros(shape, device=network.device) if has_offsets else None
        # a person's own augmentation may wait for the device, which no recording can
        is_recorded = network.device.type == "cuda" and not config.data.augmentation
        self._pool = torch.cuda.graph_pool_handle() if is_recorded else None
        # recorded steps read the learning rate from the device
        self._lr = 0.0
        self._lr_on_device = torch.zeros(1, device=network.device)
        self._step_counts: Counter[tuple[object, ...]] = Counter()
        self._graphs: dict[tuple[object, ...], StepGraph] = {}

    def run(
        self, group: Group, round_number: int, start: Tensor, extras: Tensors
    ) -> tuple[Tensor, Tensor]:
        """Train a group of S stores through all steps of its schedule.

        Nothing waits for the device.

        Args:
            group: the stores, their images and their schedule.
            round_number: number of the round, from 1.
            start: the global model, float32 [P].
            extras: the strategy's tensors for the stores.

        Returns:
            The stores' weights, float32 [S, P], and the sums of their losses over the last epoch,
            float32 [S]. Both are overwritten by the next group.
        """
        stores = len(group.names)
        config = self._config
        if not self.hooks.on_train_begin(start, extras, group.states):
            self._graphs.clear()  # they read the earlier tensors
            self._step_counts.clear()
        self._lr = learning_rate(config.train, round_number, config.run.rounds)
        self._lr_on_device.fill_(self._lr)
        self.network.weights[:stores] = start
        self.network.address(
            [derive(config.run.seed, "dropout", round_number, name) for name in group.names]
        )
        # local optimizers keep nothing from round to round, as in every engine
        self._optimizer.restart(self.network.weights)
        self._loss_sums.zero_()
        if self._offsets is not None and group.offsets is not None:
            self._offsets[:stores] = group.offsets
        for step, active_stores in enumerate(group.schedule.stores):
            # stores with fewer steps are last and leave the group early
            if active_stores != self.network.stores:
                self.network.narrow(active_stores)
            self._run_step(group.array, group.schedule.at(step))
        return self.network.weights[:stores], self._loss_sums[:stores]

    def _run_step(self, array: Images, inputs: Inputs) -> None:
        """Take one step, recorded if it came often enough."""

        def step(given: Inputs) -> None:
            self._step(array, given)

        key = (inputs.rows.shape, array.inputs.data_ptr())
        if key in self._graphs:
            return self._graphs[key](inputs)
        self._step_counts[key] += 1
        if (
            self._pool is not None
            and self._step_counts[key] > STEPS_BEFORE_RECORDING
            and len(self._graphs) < MAX_GRAPHS
        ):
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
        images, targets, blend = self._images_of(array, inputs)
        with torch.autocast(
            # no cache: a recorded step would read weights that autocast cast before the recording
            weights.device.type,
            torch.bfloat16,
            enabled=self._mixed,
            cache_enabled=False,
        ):
            offsets = None
            if self._offsets is not None:
                offsets = self._offsets[:stores].repeat_interleave(inputs.rows.shape[1], dim=0)
            outputs = self._task.results(self.network.logits, images, targets)
            losses_of_images = self._task.image_losses(
                outputs, targets, self._config.train, blend, offsets
            )
            losses = torch.where(
                inputs.shares > 0, losses_of_images.view(stores, -1) * inputs.shares, 0
            ).sum(dim=1)
        # no loss depends on another store's weights, so one sum gives each store its own gradient
        gradient = self.network.gradient(losses.sum())
        regularise(gradient, weights, self._config.train)
        self.hooks.correct_gradient(gradient, weights)
        self._optimizer.step(
            weights, gradient, self._lr if self._pool is None else self._lr_on_device
        )
        self._loss_sums[:stores].addcmul_(losses.detach(), inputs.counts)

    def _images_of(self, array: Images, inputs: Inputs) -> tuple[Tensor, Tensor, Blend | None]:
        """Return the images of a step.

        Returns:
            Augmented and normalised pixels [S * B, channels, H, W], or features [S * B, ...];
            targets [S * B], or annotations [S * B, ...]; and the blend or None.
        """
        rows = inputs.rows.flatten()
        images = array.inputs.index_select(0, rows)
        targets = array.learned.index_select(0, rows)
        draws = inputs.draws.flatten(0, 1)
        blend = None
        if array.are_features:
            images = drawn_view(images, self._config.data, draws)
        else:
            images, targets, blend = self._task.augment(
                images, targets, self._config.data, draws, _batches(inputs)
            )
            images = normalise(images, self._spec.mean, self._spec.std)
        # An image whose scores overflow would make NaN of a share of 0, in the loss or in the
        # backward pass.
        is_unused = (inputs.shares == 0).view(-1, *(1,) * (images.ndim - 1))
        return images.masked_fill_(is_unused, 0), targets, blend


def _batches(inputs: Inputs) -> BatchBounds:
    """Return the stores' batches in [S * B]; unused places count for none, and mix with any."""
    stores, width = inputs.rows.shape
    first = torch.arange(stores, device=inputs.rows.device) * width
    sizes = (inputs.shares > 0).sum(dim=1).clamp(min=1)
    return BatchBounds(first.repeat_interleave(width), sizes.repeat_interleave(width))
