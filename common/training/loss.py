"""The loss of a batch and its gradient, in pieces if the whole does not fit into memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedshelf.common.config import TrainConfig
from fedshelf.common.images.augment import Blend
from fedshelf.common.models.dropout import dropout_layers
from fedshelf.common.system.device import has_bfloat16

# pixels of a batch from which channels-last order is faster: resnet18 at 64 px was 15% slower with
# 16 images, 6% with 32, 2% with 48 (196,608 pixels) and 3% faster with 64; at 224 px it was 3%
# slower with 2 images and 11% faster with 4 (200,704 pixels; docs/log.md)
MIN_CHANNELS_LAST_PIXELS = 200_000


class GradientNetwork(Protocol):
    """The part of a `common.training.fit.Network` that `BatchGradient` needs."""

    module: nn.Module
    device: torch.device
    weights: Tensor
    images_per_piece: int | None
    has_batch_norm: bool

    def logits(self, pixels: Tensor) -> Tensor:
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
        network: the network whose weights are trained
        config: loss, label smoothing and precision
        offsets: float32 [C], added to the scores; None: nothing (see `objective`)
        forward: maps the inputs of a batch to class scores [B, C]; None: the network's `logits`
    """

    def __init__(
        self,
        network: GradientNetwork,
        config: TrainConfig,
        offsets: Tensor | None = None,
        forward: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
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
            targets: int64 [B]
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
                logits = self._forward(_in_fast_order(inputs)).float()
            loss = objective(logits, targets, self._config, blend, self._offsets)
        else:
            with autocast(self._config, device):
                loss = objective(self._forward(inputs), targets, self._config, blend, self._offsets)
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


def objective(
    logits: Tensor,
    targets: Tensor,
    config: TrainConfig,
    blend: Blend | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """Return the loss of a batch (a scalar).

    It is the cross-entropy, or the mean over images and classes of (softmax(logits) - target)^2.
    `label_smoothing` spreads its share of the target over all classes (see `soft_targets`).

    Args:
        logits: [B, C]
        targets: int64 [B]
        config: loss and label smoothing
        blend: if given, a term is share L(target) + (1 - share) L(other)
        offsets: float32, [C] or [B, C], added to the logits. With the logarithms of a store's
            shares of the classes, the loss is the re-weighted softmax of Legate, Caccia and
            Belilovsky (CoLLAs 2023).
    """
    if blend is not None or (offsets is not None and config.label_smoothing):
        return image_losses(logits, targets, config, blend, offsets).mean()
    if offsets is not None:
        logits = logits + offsets
    if config.loss == "cross-entropy":
        return functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    one_hot = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    smoothed = one_hot * (1 - config.label_smoothing) + config.label_smoothing / logits.shape[1]
    return functional.mse_loss(logits.softmax(dim=1), smoothed)


def image_losses(
    logits: Tensor,
    targets: Tensor,
    config: TrainConfig,
    blend: Blend | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """Return the terms [B] whose mean is `objective`; shapes as there."""
    if blend is not None:
        target_losses, blended_losses = (
            image_losses(logits, labels, config, None, offsets)
            for labels in (targets, blend.others)
        )
        return torch.lerp(blended_losses, target_losses, blend.shares)
    smoothing = config.label_smoothing
    if offsets is not None:
        logits = logits + offsets
        if smoothing:
            return _soft_target_losses(logits, soft_targets(targets, smoothing, offsets), config)
    if config.loss == "cross-entropy":
        return functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=smoothing
        )
    spread = smoothing / logits.shape[1]
    smoothed = torch.full_like(logits, spread).scatter_(1, targets[:, None], 1 - smoothing + spread)
    return functional.mse_loss(logits.softmax(dim=1), smoothed, reduction="none").mean(dim=1)


def soft_targets(targets: Tensor, smoothing: float, offsets: Tensor) -> Tensor:
    """Return (1 - smoothing) onehot(target) + smoothing softmax(offsets): float32 [B, C].

    A network that cannot tell the classes apart has equal logits, so its softmax is that of the
    offsets. Smoothing towards this asks for logits that are less confident. Smoothing towards an
    even spread would ask a store to raise the classes that it lacks: at 3% of an even share each,
    an even spread gives them 33 times what the offsets do.

    Args:
        targets: int64 [B]
        smoothing: share of the target that is spread, 0 to 1
        offsets: float32 [C] or [B, C]
    """
    shares = offsets.softmax(dim=-1).expand(len(targets), -1)
    return (smoothing * shares).scatter_add(
        1, targets[:, None], shares.new_full((len(targets), 1), 1 - smoothing)
    )


def _soft_target_losses(logits: Tensor, soft: Tensor, config: TrainConfig) -> Tensor:
    """Return the terms [B] for targets that are shares of the classes, [B, C]."""
    if config.loss == "cross-entropy":
        return functional.cross_entropy(logits, soft, reduction="none")
    return functional.mse_loss(logits.softmax(dim=1), soft, reduction="none").mean(dim=1)


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
