"""Local training: every runtime trains a store through `fit`, so one seed gives one result.

The engine `batched` takes the same steps for many stores at once (see
`simulations.engines.batched`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from fedshelf.common import models
from fedshelf.common.config import DataConfig, RunConfig
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import BatchBounds, Blend, DrawStream, normalise
from fedshelf.common.images.augment.views import drawn_view
from fedshelf.common.images.types import Images
from fedshelf.common.models.dropout import seed_dropout
from fedshelf.common.models.frozen_part import FrozenPart, cut
from fedshelf.common.models.head import set_training
from fedshelf.common.models.norms import has_moving_statistics
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import LoadedWeights
from fedshelf.common.native.fuse import fuse
from fedshelf.common.parameters.layout import Layout, Tensors, bind, frozen_vector, load_frozen
from fedshelf.common.privacy.randomness import derived_seed
from fedshelf.common.seeding import derive, rng
from fedshelf.common.strategies import LocalTrainingSummary, Strategy
from fedshelf.common.strategies.shared.class_skew import logit_offsets
from fedshelf.common.system.device import compute_exactly
from fedshelf.common.tasks import task_of
from fedshelf.common.tasks.task import Forward
from fedshelf.common.training.clipping.clipped_gradient import ClippedGradient
from fedshelf.common.training.loss import BatchGradient, regularise
from fedshelf.common.training.optimizers import OPTIMIZERS, lr_shares
from fedshelf.common.training.private_steps import PrivateSteps
from fedshelf.common.training.steps import LocalStep, plain_steps

BatchTransform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A change of a batch before it is normalised: from (pixels, targets) to (pixels, targets)."""


class Network:
    """A module on a device whose travelling tensors are views of one vector.

    Attributes:
        task: the task that the network's results are for
        vector: float32 [P], parameters that train, then floating-point buffers; write to it to load
        weights: float32 [T], the part of `vector` that trains
        parameters: the parameters that train; they are views of `weights`, in its order
        images_per_piece: images that fit into the device's memory at once; None: all batches fitted
            so far
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device,
        *,
        weights: LoadedWeights | None = None,
        seed: int = 0,
    ) -> None:
        self.spec = spec
        self.device = device
        self.task = task_of(spec)
        compute_exactly(device)
        self.module = models.build(spec, weights=weights, seed=seed).to(device)
        self.layout = Layout.from_module(self.module)
        self.vector = bind(self.module, self.layout)
        self.weights = self.vector[: self.layout.trainable]
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self._gradient = torch.empty_like(self.weights)
        self._forward = self._fused()
        self._frozen_part: FrozenPart | None = None
        self.images_per_piece: int | None = None
        self.has_batch_norm = any(has_moving_statistics(layer) for layer in self.module.modules())

    def load(self, params: Tensor) -> None:
        """Copy `params` (float32 [P], on any device) into the network."""
        assert params.shape == self.vector.shape, (params.shape, self.vector.shape)
        self.vector.copy_(params)

    def frozen(self) -> Tensor | None:
        """Return the floats that do not travel: float32 [F], or None if there are none."""
        return frozen_vector(self.module, self.layout)

    def load_frozen(self, frozen: Tensor) -> None:
        """Write a vector from the method `frozen` (float32 [F]) into the network."""
        load_frozen(self.module, self.layout, frozen)
        self._frozen_part = None

    @property
    def frozen_part(self) -> FrozenPart | None:
        """The part of the network before its first layer that trains; None: there is none."""
        if self._frozen_part is None and self.spec.freeze != "none":
            set_training(self.module, mode=False)
            self._frozen_part = cut(self.module, self._example().to(self.device))
        return self._frozen_part

    def forward(self, images: Images) -> Forward:
        """Return the function that maps a batch of such images' inputs to class scores [B, C].

        Inputs are normalised pixels [B, channels, H, W], or features [B, ...].
        """
        if not images.are_features:
            return self.logits
        assert self.frozen_part is not None, "features are made by the frozen part"
        return self.frozen_part.rest

    def differentiable(self, images: Images) -> nn.Module:
        """Return the module behind `forward`, with the layers that train."""
        if not images.are_features:
            return self._forward
        assert self.frozen_part is not None, "features are made by the frozen part"
        return self.frozen_part.rest

    def logits(self, pixels: Tensor, *targets: Tensor) -> Tensor:
        """Return class scores [B, C] of normalised images [B, channels, H, W].

        Of a network for scenes they are the results of its task, which may need the targets.
        """
        # compiled operations are for float32 alone
        is_mixed = self.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        scores: Tensor = (self.module if is_mixed else self._forward)(pixels, *targets)
        return scores

    def _fused(self) -> nn.Module:
        """Return the module, or on a CPU a faster one that computes the same."""
        if self.device.type != "cpu":
            return self.module
        return fuse(self.module, self._example())

    def _example(self) -> Tensor:
        """Return an image for the network, on the CPU: float32 [1, channels, H, W]."""
        return torch.zeros(1, self.spec.channels, self.spec.image_size, self.spec.image_size)

    def gradient(self, loss: Tensor) -> Tensor:
        """Return dloss/dweights as one vector [T]; the next call overwrites it."""
        pieces = torch.autograd.grad(loss, self.parameters)
        return torch.cat([piece.reshape(-1) for piece in pieces], out=self._gradient)


def check_privacy(network: Network, config: RunConfig) -> None:
    """Check that a network that is to train privately looks at each image alone.

    Raises:
        ConfigError: it has batch norms whose statistics move, or its task refuses it.
    """
    if not config.privacy.is_on:
        return
    if network.task.refused(config).get("privacy.clip"):
        raise ConfigError(
            f"Setting privacy.clip got {config.privacy.clip:g} with model {network.spec.name}, of"
            " which no photo's own gradient is known; leave it out, or choose locator."
        )
    set_training(network.module, mode=True)
    if any(has_moving_statistics(layer) and layer.training for layer in network.module.modules()):
        raise ConfigError(
            f"Setting privacy.clip got {config.privacy.clip:g} with model {network.spec.name},"
            " whose batch norm mixes the images of a batch; set model.norm=group, or"
            " model.norm=frozen with pretrained weights."
        )


@dataclass(frozen=True)
class LocalTrainingTask:
    """The input of one store's local training.

    Attributes:
        config: the settings of the run
        strategy: the strategy, whose client half hooks into the training
        store: name of the store; with `round_number` the address of its random draws
        round_number: round of the run, from 1
        start: float32 [P], the global model
        extras: the tensors that the strategy's server half sent along
        state: the tensors that the strategy's client half kept from the store's earlier rounds
        key: of all random numbers, if the training is private (`common.privacy.randomness`)
    """

    config: RunConfig
    strategy: Strategy
    store: str
    round_number: int
    start: Tensor
    extras: Tensors = field(default_factory=dict)
    state: Tensors = field(default_factory=dict)
    key: bytes | None = None

    @property
    def seed(self) -> int:
        """The seed of augmentation, dropout and shuffles: the run's, unless there is a key."""
        return self.config.run.seed if self.key is None else derived_seed(self.key)


@dataclass(frozen=True)
class LocalTrainingResult:
    """The outcome of a local training.

    Attributes:
        params: float32 [P] on the CPU, a copy
        loss: mean training loss per image over the last epoch, as far as it went; of a private
            training over all steps, and 0 if they drew no image
        num_examples: training images of the store
        steps: optimizer steps taken
        extras: tensors that travel to the server beside the weights
        state: tensors that the strategy's client half keeps for later rounds
    """

    params: Tensor
    loss: float
    num_examples: int
    steps: int
    extras: Tensors
    state: Tensors


def fit(network: Network, images: Images, task: LocalTrainingTask) -> LocalTrainingResult:
    """Train a network on a store's images from `task.start`, and return the result.

    Shuffles, augmentation and dropout are addressed by (seed, round, store), or by the key of a
    private training. The last batch may be smaller than the others; with batch norm it is never a
    single image, unless all are. On a single image batch norm uses its running statistics.

    Args:
        network: holds the trained weights afterwards
        images: the store's training images, at least one, on any device
        task: settings, strategy, start and random address

    Raises:
        torch.OutOfMemoryError: not even the smallest pieces of a batch fit into the memory.
    """
    assert len(images) > 0, "a store without training images is left out before"
    config = task.config.train
    strategy = task.strategy
    lr = learning_rate(config, task.round_number, task.config.run.rounds)
    network.load(task.start)
    start = network.weights.clone()
    state = _to_device(network.device, task.state)
    local = strategy.on_train_begin(start, _to_device(network.device, task.extras), state)
    optimizer = OPTIMIZERS[config.optimizer](
        config, lr_shares(config, network.layout, network.device)
    )
    dropout_seed = derive(task.seed, "dropout", task.round_number, task.store)
    _seed_torch(dropout_seed, network.device)
    seed_dropout(network.module, [dropout_seed], network.device)
    _training_mode(network, single_images=len(images) == 1 or config.batch == 1)
    num_steps = 0
    seen = 0
    loss_sum = torch.zeros((), device=network.device)
    for step in _steps(network, images, task):
        if step.begins_epoch:
            seen = 0
            loss_sum = loss_sum.zero_()
        regularise(step.gradient, network.weights, config)
        strategy.correct_gradient(step.gradient, network.weights, local)
        optimizer.step(network.weights, step.gradient, lr)
        loss_sum += step.loss_sum
        num_steps += 1
        seen += step.images
    if task.config.privacy.is_on:  # whatever a network keeps of images beside its weights
        network.vector[network.layout.trainable :] = task.start[network.layout.trainable :]
    summary = LocalTrainingSummary(
        start, network.weights, num_steps, lr, len(images), config.momentum
    )
    extras, new_state = strategy.on_train_end(summary, local, state)
    vector = network.vector.detach().to("cpu", copy=True)
    loss = float(loss_sum) / max(1, seen)
    return LocalTrainingResult(vector, loss, len(images), num_steps, extras, new_state)


def _steps(network: Network, images: Images, task: LocalTrainingTask) -> Iterator[LocalStep]:
    """Return the steps of a training, plain or private."""
    config = task.config.train
    draws = DrawStream(task.config.data, task.seed, task.round_number, task.store)
    vary = partial(
        network.task.vary, generator=rng(task.seed, "turns", task.round_number, task.store)
    )

    def inputs(positions: np.ndarray) -> tuple[Tensor, Tensor, Blend | None]:
        return _inputs(network, images, positions, task.config.data, draws, vary)

    if task.config.privacy.is_on:
        assert task.key is not None, "a private training has a key"
        losses = partial(network.task.image_losses, config=config)
        clipped = ClippedGradient(network, network.differentiable(images), losses)
        return iter(
            PrivateSteps(
                clipped, lambda at: inputs(at)[:2], task.config.privacy, len(images), task.key
            )
        )
    offsets = logit_offsets(images, len(network.spec.classes), task.config.strategy.absent)
    batch_gradient = BatchGradient(
        network,
        config,
        None if offsets is None else offsets.to(network.device),
        network.forward(images),
    )
    order = rng(task.seed, "order", task.round_number, task.store)
    return plain_steps(
        batch_gradient, inputs, len(images), config, order, keep_pairs=network.has_batch_norm
    )


def _to_device(device: torch.device, tensors: Tensors) -> Tensors:
    """Return the tensors on the device."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that torchvision's layers draw from.

    `torch.manual_seed` is not used: without CUDA it remembers each of its calls.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _training_mode(network: Network, *, single_images: bool) -> None:
    """Set the network to training mode.

    If every batch is a single image, batch norm stays in evaluation mode: one image gives it no
    statistics, so it uses its running ones.
    """
    set_training(network.module, mode=True)
    if single_images and network.has_batch_norm:
        for layer in network.module.modules():
            if has_moving_statistics(layer):
                layer.eval()


def _inputs(
    network: Network,
    images: Images,
    positions: np.ndarray,
    augmentation: DataConfig,
    draws: DrawStream,
    vary: BatchTransform,
) -> tuple[Tensor, Tensor, Blend | None]:
    """Return the inputs of a batch on the network's device.

    They are normalised pixels [B, channels, H, W], or features [B, ...]; targets int64 [B], or
    annotations [B, ...]; and the blend or None.
    """
    inputs, targets = images.batch(torch.from_numpy(positions).to(images.rows.device))
    inputs = inputs.to(network.device)
    targets = targets.to(network.device)
    random_numbers = torch.from_numpy(draws.take(len(positions))).to(network.device)
    if images.are_features:
        return drawn_view(inputs, augmentation, random_numbers), targets, None
    pixels, targets, blend = network.task.augment(
        inputs, targets, augmentation, random_numbers, BatchBounds(0, len(positions))
    )
    # last: the mirror image of a turned photo is turned the other way
    pixels, targets = vary(pixels, targets)
    return normalise(pixels, network.spec.mean, network.spec.std), targets, blend
