"""Local optimizers on a flat vector: the same arithmetic as torch.optim, one operation a term.

They work in place on vectors of any leading shape. Importing them costs nothing, while the first
torch.optim optimizer imports the compiler. Coordinates may move at a share of the learning rate:
see `lr_shares`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from fedshelf.common.config import TrainConfig
from fedshelf.common.parameters.layout import Layout


class Optimizer(Protocol):
    """An optimizer of one local training: made anew, or restarted, for the next one.

    Many stores that step together have a leading dimension: [S, T]. S may fall from step to step;
    the buffers of the stores beyond S are not used again.
    """

    def step(self, weights: Tensor, gradient: Tensor, lr: float | Tensor) -> None:
        """Take one step against the gradient.

        Args:
            weights: float32 [T] or [S, T], changed in place
            gradient: of the same shape; it may be used as scratch space
            lr: the learning rate. A tensor (float32, one number, on the device of the weights) is
                read when the step runs, so a recorded step follows its value; a float would be
                recorded with its present value.
        """

    def restart(self, weights: Tensor) -> None:
        """Forget all past steps; buffers of the shape of `weights` [T] keep their memory."""


class SGD:
    """b <- momentum b + (g + decay w), starting at the first gradient;  w <- w - lr b."""

    def __init__(self, config: TrainConfig, lr_shares: Tensor | None = None) -> None:
        self._momentum = config.momentum
        self._decay = config.weight_decay
        self._shares = lr_shares
        self._buffer: Tensor | None = None

    def step(self, weights: Tensor, gradient: Tensor, lr: float | Tensor) -> None:
        """Take one step on weights [T], as `Optimizer.step` describes."""
        if self._decay:
            gradient.add_(weights, alpha=self._decay)
        if self._momentum:
            if self._buffer is None:
                self._buffer = gradient.clone()
                gradient = self._buffer
            else:
                gradient = self._buffer[: len(weights)].mul_(self._momentum).add_(gradient)
        if isinstance(lr, Tensor):
            weights.addcmul_(gradient, lr if self._shares is None else self._shares * lr, value=-1)
        elif self._shares is None:
            weights.add_(gradient, alpha=-lr)
        else:
            weights.addcmul_(gradient, self._shares, value=-lr)

    def restart(self, weights: Tensor) -> None:
        """Set the buffer [T] to zeros; the first step adds its gradient to it."""
        if self._momentum:
            self._buffer = _zeros(self._buffer, weights)


class Adam:
    """Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019) if decoupled.

    g <- g + decay w, or decoupled: w <- (1 - lr decay) w;
    m <- 0.9 m + 0.1 g;  v <- 0.999 v + 0.001 g^2;
    w <- w - lr (m / (1 - 0.9^t)) / (sqrt(v / (1 - 0.999^t)) + eps)
    """

    BETA1 = 0.9
    BETA2 = 0.999
    EPS = 1e-8

    def __init__(
        self, config: TrainConfig, lr_shares: Tensor | None = None, *, decoupled: bool = False
    ) -> None:
        self._decay = config.weight_decay
        self._decoupled = decoupled
        self._shares = lr_shares
        self._steps = 0
        self._first: Tensor | None = None
        self._second: Tensor | None = None
        # for recorded steps: their number, counted by the device, float64 [1]
        self._steps_on_device: Tensor | None = None

    def step(self, weights: Tensor, gradient: Tensor, lr: float | Tensor) -> None:
        """Take one step on weights [T], as `Optimizer.step` describes."""
        if self._decoupled:
            weights.mul_(1 - lr * self._decay * (1 if self._shares is None else self._shares))
        elif self._decay:
            gradient.add_(weights, alpha=self._decay)
        if self._first is None or self._second is None:
            self._first = torch.zeros_like(weights)
            self._second = torch.zeros_like(weights)
        first = self._first[: len(weights)]
        second = self._second[: len(weights)]
        first.lerp_(gradient, 1 - self.BETA1)
        second.mul_(self.BETA2).addcmul_(gradient, gradient, value=1 - self.BETA2)
        moved = first if self._shares is None else first * self._shares
        if isinstance(lr, Tensor):
            steps = self._count_step_on_device(weights.device)
            root = (second.sqrt() / (1 - self.BETA2**steps).sqrt().float()).add_(self.EPS)
            weights.addcdiv_(moved * (lr / (1 - self.BETA1**steps)).float(), root, value=-1)
        else:
            self._steps += 1
            root = (second.sqrt() / (1 - self.BETA2**self._steps) ** 0.5).add_(self.EPS)
            weights.addcdiv_(moved, root, value=-lr / (1 - self.BETA1**self._steps))

    def restart(self, weights: Tensor) -> None:
        """Set both moments, [T] each, and the number of steps to zero."""
        self._steps = 0
        if self._steps_on_device is not None:
            self._steps_on_device.zero_()
        self._first = _zeros(self._first, weights)
        self._second = _zeros(self._second, weights)

    def _count_step_on_device(self, device: torch.device) -> Tensor:
        """Count this step on the device, and return the number of steps so far: float64 [1]."""
        if self._steps_on_device is None:
            self._steps_on_device = torch.zeros(1, dtype=torch.float64, device=device)
        return self._steps_on_device.add_(1)


def _zeros(buffer: Tensor | None, like: Tensor) -> Tensor:
    return (
        torch.zeros_like(like) if buffer is None or buffer.shape != like.shape else buffer.zero_()
    )


def lr_shares(config: TrainConfig, layout: Layout, device: torch.device) -> Tensor | None:
    """Return each coordinate's share of the learning rate: 1 in the head, else `backbone_lr`.

    Args:
        config: `backbone_lr`
        layout: the place of the head in the vector
        device: the device of the result

    Returns:
        Float32 [T]; None: all shares are 1.
    """
    if config.backbone_lr == 1:
        return None
    shares = torch.full((layout.trainable,), config.backbone_lr, device=device)
    prefixes = tuple(f"{layer}." for layer in {*layout.class_layers, layout.head})
    for name in layout.names:
        if name.startswith(prefixes):
            shares[layout.slice_of(name)] = 1
    return shares


OPTIMIZERS: Mapping[str, Callable[[TrainConfig, Tensor | None], Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": partial(Adam, decoupled=True),
}
