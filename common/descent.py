"""The loss of a batch and its gradient, in pieces where a device's memory does not hold the whole."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from common.config import TrainConfig
from common.models.dropout import layers


class Descending(Protocol):
    """What of a `common.training.Network` is needed here; see there."""

    module: nn.Module
    device: torch.device
    weights: Tensor
    at_once: int | None
    has_batch_norm: bool

    def logits(self, pixels: Tensor) -> Tensor:
        """Class scores."""

    def gradient(self, loss: Tensor) -> Tensor:
        """dloss/dweights."""


class Descent:
    """The loss and the gradient of batches, in as many pieces as the device's memory asks for.

    Memory that is too small is told by torch.OutOfMemoryError; then the batch is done again in pieces of half the
    size, and again down to single images. `network.at_once` remembers what fitted. The result is that of the whole
    batch but for rounding: a mean over images is added up, and dropout's masks are those of the images' places in
    the batch. It differs for layers that look at a batch as a whole (batch norm takes its statistics from a piece,
    and keeps those of a batch that did not fit) or that draw from torch's own generator (torchvision's stochastic
    depth).
    """

    def __init__(self, network: Descending, config: TrainConfig) -> None:
        self._network, self._config, self._dropouts = network, config, layers(network.module)

    def __call__(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (a scalar, detached) and gradient [T], overwritten by the next call. Raises torch.OutOfMemoryError."""
        network, before = self._network, [dropout.calls() for dropout in self._dropouts]
        while True:
            size = min(len(targets), network.at_once or len(targets))
            try:
                if size == len(targets):
                    return self._whole(pixels, targets)
                return self._pieces(pixels, targets, size, before)
            except torch.OutOfMemoryError:
                if size == 1 or (size == 2 and network.has_batch_norm):
                    raise
            network.at_once = size // 2
            if network.device.type == "cuda":
                torch.cuda.empty_cache()
            self._rewind(before, 0)

    def _whole(self, pixels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        with arithmetic(self._config, self._network.device):
            loss = objective(self._network.logits(pixels), targets, self._config)
        return loss.detach(), self._network.gradient(loss)

    def _pieces(
        self, pixels: Tensor, targets: Tensor, size: int, before: Sequence[Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        loss_sum, total = torch.zeros((), device=pixels.device), torch.zeros_like(self._network.weights)
        for place in batches(np.arange(len(targets)), size, self._network.has_batch_norm):
            piece = slice(int(place[0]), int(place[-1]) + 1)
            self._rewind(before, piece.start)
            loss, gradient = self._whole(pixels[piece], targets[piece])
            loss_sum += loss * (len(place) / len(targets))
            total.add_(gradient, alpha=len(place) / len(targets))
        for dropout in self._dropouts:
            dropout.first_row = 0
        return loss_sum, total

    def _rewind(self, calls: Sequence[Tensor | None], first_row: int) -> None:
        for dropout, count in zip(self._dropouts, calls, strict=True):
            dropout.rewind(count, first_row)


def objective(logits: Tensor, targets: Tensor, config: TrainConfig) -> Tensor:
    """The loss of a batch (a scalar): cross-entropy, or the mean over images and classes of
    (softmax(logits) - target)^2; `label_smoothing` spreads its share of the target over all classes.

    logits [B, C], targets int64 [B].
    """
    if config.loss == "cross-entropy":
        return functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    hot = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    smoothed = hot * (1 - config.label_smoothing) + config.label_smoothing / logits.shape[1]
    return functional.mse_loss(logits.softmax(dim=1), smoothed)


def batches(order: np.ndarray, size: int, keep_pairs: bool) -> Iterator[np.ndarray]:
    """Cut `order` (int64 [N]) into batches; with `keep_pairs` a last single image joins the batch before it."""
    stops = list(range(size, len(order), size))
    if keep_pairs and stops and len(order) - stops[-1] == 1:
        stops.pop()
    yield from np.split(order, stops)


def arithmetic(config: TrainConfig, device: torch.device) -> torch.autocast:
    """bfloat16 where asked for and where it pays, float32 elsewhere."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "mixed" and device.type == "cuda")


def regularise(gradient: Tensor, weights: Tensor, config: TrainConfig) -> None:
    """Add the L1 term l1 sign(w), then scale gradients [..., T] down to `clip_norm`, in place."""
    if config.l1:
        gradient.add_(weights.sign(), alpha=config.l1)
    if config.clip_norm:
        norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
        gradient.mul_((config.clip_norm / (norm + 1e-6)).clamp(max=1.0))
