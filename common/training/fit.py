"""Local training: every runtime trains a store through `fit`, so one seed gives one result.

The engine `batched` takes the same steps for many stores at once (see
`simulations.engines.batched`).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fedshelf.common import models
from fedshelf.common.config import DataConfig, RunConfig, TrainConfig
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.images.augment import BatchBounds, Blend, DrawStream, augment, normalise
from fedshelf.common.images.augment.views import drawn_view
from fedshelf.common.images.types import Images
from fedshelf.common.models.dropout import seed_dropout
from fedshelf.common.models.frozen_part import FrozenPart, cut
from fedshelf.common.models.norms import has_moving_statistics
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import LoadedWeights
from fedshelf.common.native.fuse import fuse
from fedshelf.common.parameters.layout import Layout, Tensors, bind, frozen_vector, load_frozen
from fedshelf.common.seeding import derive, rng
from fedshelf.common.strategies import LocalTrainingSummary, Strategy
from fedshelf.common.strategies.shared.class_skew import logit_offsets
from fedshelf.common.system.device import compute_exactly
from fedshelf.common.training.loss import BatchGradient, regularise, split_batches
from fedshelf.common.training.optimizers import OPTIMIZERS, lr_shares
from fedshelf.common.training.rotation_task import BatchTransform, training_transform


class Network:
    """A module on a device whose travelling tensors are views of one vector.

    Attributes:
        vector: float32 [P], parameters that train, then floating-point buffers; write to it to load
        weights: float32 [T], the part of `vector` that trains
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
        compute_exactly(device)
        self.module = models.build(spec, weights=weights, seed=seed).to(device)
        self.layout = Layout.from_module(self.module)
        self.vector = bind(self.module, self.layout)
        self.weights = self.vector[: self.layout.trainable]
        self._parameters = [p for p in self.module.parameters() if p.requires_grad]
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
            models.set_training(self.module, mode=False)
            self._frozen_part = cut(self.module, self._example().to(self.device))
        return self._frozen_part

    def forward(self, images: Images) -> Callable[[Tensor], Tensor]:
        """Return the function that maps a batch of such images' inputs to class scores [B, C].

        Inputs are normalised pixels [B, channels, H, W], or features [B, ...].
        """
        if not images.are_features:
            return self.logits
        assert self.frozen_part is not None, "features are made by the frozen part"
        return self.frozen_part.rest

    def logits(self, pixels: Tensor) -> Tensor:
        """Return class scores [B, C] of normalised images [B, channels, H, W]."""
        # compiled operations are for float32 alone
        is_mixed = self.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        scores: Tensor = (self.module if is_mixed else self._forward)(pixels)
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
        pieces = torch.autograd.grad(loss, self._parameters)
        return torch.cat([piece.reshape(-1) for piece in pieces], out=self._gradient)


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
    """

    config: RunConfig
    strategy: Strategy
    store: str
    round_number: int
    start: Tensor
    extras: Tensors = field(default_factory=dict)
    state: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class LocalTrainingResult:
    """The outcome of a local training.

    Attributes:
        params: float32 [P] on the CPU, a copy
        loss: mean training loss per image over the last epoch, as far as it went
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

    Shuffles, augmentation and dropout are addressed by (seed, round, store). The last batch may be
    smaller than the others; with batch norm it is never a single image, unless all are. On a single
    image batch norm uses its running statistics.

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
    seed = task.config.run.seed
    lr = learning_rate(config, task.round_number, task.config.run.rounds)
    network.load(task.start)
    start = network.weights.clone()
    state = _to_device(network.device, task.state)
    local = strategy.on_train_begin(start, _to_device(network.device, task.extras), state)
    optimizer = OPTIMIZERS[config.optimizer](
        config, lr_shares(config, network.layout, network.device)
    )
    dropout_seed = derive(seed, "dropout", task.round_number, task.store)
    _seed_torch(dropout_seed, network.device)
    seed_dropout(network.module, [dropout_seed], network.device)
    order = rng(seed, "order", task.round_number, task.store)
    draws = DrawStream(task.config.data, seed, task.round_number, task.store)
    transform = training_transform(network.spec, rng(seed, "turns", task.round_number, task.store))
    _training_mode(network, single_images=len(images) == 1 or config.batch == 1)
    offsets = logit_offsets(images, len(network.spec.classes), task.config.strategy.absent)
    batch_gradient = BatchGradient(
        network,
        config,
        None if offsets is None else offsets.to(network.device),
        network.forward(images),
    )
    steps = 0
    seen = 0
    loss_sum = torch.zeros((), device=network.device)
    for positions, is_epoch_start in _batches(network, len(images), config, order):
        if is_epoch_start:
            seen = 0
            loss_sum = loss_sum.zero_()
        loss, gradient = batch_gradient(
            *_inputs(network, images, positions, task.config.data, draws, transform)
        )
        regularise(gradient, network.weights, config)
        strategy.correct_gradient(gradient, network.weights, local)
        optimizer.step(network.weights, gradient, lr)
        loss_sum += loss * len(positions)
        steps += 1
        seen += len(positions)
    summary = LocalTrainingSummary(start, network.weights, steps, lr, len(images), config.momentum)
    extras, new_state = strategy.on_train_end(summary, local, state)
    vector = network.vector.detach().to("cpu", copy=True)
    return LocalTrainingResult(
        vector, float(loss_sum) / seen, len(images), steps, extras, new_state
    )


def _batches(
    network: Network, images: int, config: TrainConfig, order: np.random.Generator
) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the positions of each batch's images (int64 [B]), and True if an epoch begins with it.

    It yields all epochs, or as many batches as fit into `seconds`. In that case the last batch
    depends on the machine and its load.
    """
    start = time.monotonic()
    keep_pairs = network.has_batch_norm
    for _ in range(config.passes):
        for index, positions in enumerate(
            split_batches(order.permutation(images), config.batch, keep_pairs)
        ):
            yield positions, index == 0
            if config.seconds and network.device.type == "cuda":
                torch.cuda.synchronize(network.device)  # the device may be far behind
            if 0 < config.seconds <= time.monotonic() - start:
                return


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
    models.set_training(network.module, mode=True)
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
    transform: BatchTransform,
) -> tuple[Tensor, Tensor, Blend | None]:
    """Return the inputs of a batch on the network's device.

    They are normalised pixels [B, channels, H, W], or features [B, ...]; targets int64 [B]; and the
    blend or None.
    """
    inputs, targets = images.batch(torch.from_numpy(positions).to(images.rows.device))
    inputs = inputs.to(network.device)
    targets = targets.to(network.device)
    random_numbers = torch.from_numpy(draws.take(len(positions))).to(network.device)
    if images.are_features:
        return drawn_view(inputs, augmentation, random_numbers), targets, None
    pixels, blend = augment(
        inputs, targets, augmentation, random_numbers, BatchBounds(0, len(positions))
    )
    # last: the mirror image of a turned photo is turned the other way
    pixels, targets = transform(pixels, targets)
    return normalise(pixels, network.spec.mean, network.spec.std), targets, blend
