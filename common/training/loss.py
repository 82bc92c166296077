"""The loss of a batch and its gradient, in pieces if the whole does not fit into memory."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fedshelf.common.config import TrainConfig
from fedshelf.common.images.augment import Blend
from fedshelf.common.models.dropout import dropout_layers
from fedshelf.common.system.device import has_bfloat16
from fedshelf.common.tasks import Task
from fedshelf.common.tasks.task import Forward

# pixels of a batch from which channels-last order is faster: resnet18 at 64 px was 15% slower with
# 16 images, 6% with 32, 2% with 48 (196,608 pixels) and 3% faster with 64; at 224 px it was 3%
# slower with 2 images and 11% faster with 4 (200,704 pixels; docs/log.md)
MIN_CHANNELS_LAST_PIXELS = 200_000


class GradientNetwork(Protocol):
    """The part of a `common.training.fit.Network` that `BatchGradient` needs."""

    module: nn.Module
    device: torch.device
    task: Task
    weights: Tensor
    images_per_piece: int | None
    has_batch_norm: bool

    def logits(self, pixels: Tensor, *targets: Tensor) -> Tensor:
        """Return class scores [B, C]."""

    def gradient(self, loss: Tensor) -> Tensor:
        """Return dloss/dweights, [T]."""


class BatchGradient:
    """The loss and the gradient of batches, in as many pieces as the device's memory requires.

    If the memory is too small, torch raises torch.OutOfMemoryError. Then the batch is done again in
    pieces of half the size, and again down to single images. `network.images_per_piece` remembers
    the size that fitted. The result is that of the whole batch except for rounding: a mean over
    images is added up, and dropout's masks are those of the images' places in the batch. It differs
    for layers that look at a batch as a whole (batch norm takes its statistics from a piece, and
    keeps those of a batch that did not fit) or that draw from torch's own generator (torchvision's
    stochastic depth).

    Args:
        network: the network whose weights are trained; its task has the loss
        config: loss, label smoothing and precision
        offsets: float32 [C], added to the scores; None: nothing (see `tasks.classes.objective`)
        forward: maps the inputs of a batch to class scores [B, C]; None: the network's `logits`
    """

    def __init__(
        self,
        network: GradientNetwork,
        config: TrainConfig,
        offsets: Tensor | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._task = network.task
        self._network = network
        self._forward = forward or network.logits
        self._config = config
        self._offsets = offsets
        self._dropouts = dropout_layers(network.module)

    def __call__(
        self, inputs: Tensor, targets: Tensor, blend: Blend | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a batch and its gradient.

        Args:
            inputs: float32 [B, ...]: normalised pixels, or features
            targets: int64 [B], or annotations [B, ...]
            blend: the images that are mixed in, or None

        Returns:
            (a detached scalar, float32 [T], which the next call overwrites).

        Raises:
            torch.OutOfMemoryError: not even the smallest pieces fit.
        """
        network = self._network
        calls = [dropout.calls() for dropout in self._dropouts]
        while True:
            size = min(len(targets), network.images_per_piece or len(targets))
            try:
                if size == len(targets):
                    return self._in_one_piece(inputs, targets, blend)
                return self._in_pieces(inputs, targets, blend, size, calls)
            except torch.OutOfMemoryError:
                if size == 1 or (size == 2 and network.has_batch_norm):
                    raise
            network.images_per_piece = size // 2
            if network.device.type == "cuda":
                torch.cuda.empty_cache()
            self._rewind(calls, 0)

    def _in_one_piece(
        self, inputs: Tensor, targets: Tensor, blend: Blend | None
    ) -> tuple[Tensor, Tensor]:
        device = self._network.device
        if device.type == "cpu" and is_bfloat16(self._config, device):
            with autocast(self._config, device):
                ordered = _in_fast_order(inputs)
                outputs = self._task.results(self._forward, ordered, targets).float()
            loss = self._task.loss(outputs, targets, self._config, blend, self._offsets)
        else:
            with autocast(self._config, device):
                outputs = self._task.results(self._forward, inputs, targets)
                loss = self._task.loss(outputs, targets, self._config, blend, self._offsets)
        return loss.detach(), self._network.gradient(loss)

    def _in_pieces(
        self,
        inputs: Tensor,
        targets: Tensor,
        blend: Blend | None,
        size: int,
        calls: Sequence[Tensor | None],
    ) -> tuple[Tensor, Tensor]:
        """Return loss and gradient, added up over pieces of `size` images.

        calls: each dropout layer's number of calls before the batch: all pieces begin there, so
            that their masks are those of the whole batch
        """
        loss_sum = torch.zeros((), device=inputs.device)
        gradient_sum = torch.zeros_like(self._network.weights)
        for positions in split_batches(np.arange(len(targets)), size, self._network.has_batch_norm):
            piece = slice(int(positions[0]), int(positions[-1]) + 1)
            self._rewind(calls, piece.start)
            blend_of_piece = Blend(*(tensor[piece] for tensor in blend)) if blend else None
            loss, gradient = self._in_one_piece(inputs[piece], targets[piece], blend_of_piece)
            loss_sum += loss * (len(positions) / len(targets))
            gradient_sum.add_(gradient, alpha=len(positions) / len(targets))
        for dropout in self._dropouts:
            dropout.first_row = 0
        return loss_sum, gradient_sum

    def _rewind(self, calls: Sequence[Tensor | None], first_row: int) -> None:
        for dropout, count in zip(self._dropouts, calls, strict=True):
            dropout.rewind(count, first_row)


def _in_fast_order(inputs: Tensor) -> Tensor:
    """Return a batch in the order of memory that is faster in bfloat16 on a CPU.

    In channels-last order, in which augmented images come, all activations are quicker, but each
    weight is reordered in each step.

    Args:
        inputs: images or feature maps [B, C, H, W], or feature vectors [B, d], which have one order
    """
    if inputs.ndim == 4 and inputs.numel() // inputs.shape[1] >= MIN_CHANNELS_LAST_PIXELS:
        return inputs.contiguous(memory_format=torch.channels_last)
    return inputs.contiguous()


def split_batches(order: np.ndarray, size: int, keep_pairs: bool) -> Iterator[np.ndarray]:
    """Cut a shuffled order into batches.

    Args:
        order: int64 [N], positions of the images
        size: images in a batch, but the last one
        keep_pairs: whether a last single image joins the batch before it, unless `size` is 1
    """
    stops = list(range(size, len(order), size))
    if keep_pairs and size > 1 and stops and len(order) - stops[-1] == 1:
        stops.pop()
    yield from np.split(order, stops)


def is_bfloat16(config: TrainConfig, device: torch.device) -> bool:
    """Return whether training computes in bfloat16: if asked for and the device can do it fast."""
    return config.precision == "mixed" and has_bfloat16(device)


def autocast(config: TrainConfig, device: torch.device) -> torch.autocast:
    """Return a context that computes in bfloat16 if `is_bfloat16`, else in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_bfloat16(config, device))


def regularise(gradient: Tensor, weights: Tensor, config: TrainConfig) -> None:
    """Add the L1 term l1 sign(w) to gradients, then scale them down to `clip_norm`, in place.

    Args:
        gradient: float32 [..., T], changed in place
        weights: float32 [..., T]
        config: `l1` and `clip_norm`; 0: none
    """
    if config.l1:
        gradient.add_(weights.sign(), alpha=config.l1)
    if config.clip_norm:
        norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
        gradient.mul_((config.clip_norm / (norm + 1e-6)).clamp(max=1.0))
