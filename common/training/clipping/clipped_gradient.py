"""The sum of the gradients of single images, each clipped: one forward and one backward pass.

With g_i the gradient of image i, it is sum_i g_i min(1, C / |g_i|) (Abadi et al. 2016,
https://arxiv.org/abs/1607.00133, Algorithm 1). No layer keeps more of a g_i than it must:

    compiled layers   write their part of each g_i (`common.native.image_gradients`)
    others            the inputs and the gradient of the outputs suffice (`layer_gradients`):
                      of a dense layer the norm is a product of two norms (Goodfellow 2015,
                      https://arxiv.org/abs/1510.01799), and the sum is one product of matrices
                      when the factors are known (Bu et al. 2023, https://arxiv.org/abs/2210.00038)

A network in which other layers train goes one image at a time, which is right for all, and slow.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fedshelf.common.models.dropout import dropout_layers
from fedshelf.common.native.conv_pool import ConvPool
from fedshelf.common.native.group_norm import GroupNorm
from fedshelf.common.native.image_gradients import recorded
from fedshelf.common.training.clipping.layer_gradients import DIMENSIONS, RULES, has_rule

Losses = Callable[[Tensor, Tensor], Tensor]
"""Maps logits [B, C] and targets int64 [B] to the loss of each row, [B]."""


class TrainedNetwork(Protocol):
    """The part of a `common.training.fit.Network` that `ClippedGradient` needs."""

    device: torch.device
    weights: Tensor
    parameters: list[nn.Parameter]
    images_per_piece: int | None

    def gradient(self, loss: Tensor) -> Tensor:
        """Return dloss/dweights, [T]; the next call overwrites it."""


@dataclass(frozen=True)
class _LayerPass:
    """A layer's part of a forward pass: its inputs, and the place at which its outputs' gradient
    comes back.
    """

    layer: nn.Module
    inputs: Tensor
    edge: GradientEdge


class ClippedGradient:
    """Sums of clipped gradients of a network.

    Args:
        network: the network whose weights are trained
        module: maps inputs [B, ...] to logits [B, C], and looks at each row alone
        losses: the loss of each row
    """

    def __init__(self, network: TrainedNetwork, module: nn.Module, losses: Losses) -> None:
        self._network = network
        self._module = module
        self._losses = losses
        self._dropouts = dropout_layers(module)
        self._compiled = [
            layer for layer in module.modules() if isinstance(layer, ConvPool | GroupNorm)
        ]
        inside = {part for layer in self._compiled for part in layer.children()}
        self._observed = [
            layer
            for layer in module.modules()
            if layer not in inside and has_rule(layer) and _trains(layer)
        ]
        self.goes_one_by_one: bool | None = None  # not known before there are images

    def __call__(
        self, inputs: Tensor, targets: Tensor, bound: float, copies: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of the clipped gradients, and the sum of the losses.

        Args:
            inputs: float32 [n * copies, ...], at least one image; its copies follow one another
            targets: int64 [n * copies]
            bound: largest L2 norm of an image's gradient, C
            copies: the gradient of an image is the mean of those of its copies, and so is its loss

        Returns:
            (float32 [T], a detached scalar).

        Raises:
            torch.OutOfMemoryError: not even one image fits.
        """
        network = self._network
        calls = [dropout.calls() for dropout in self._dropouts]
        if self.goes_one_by_one is None:
            self.goes_one_by_one = not self._is_covered(inputs[:copies])
        while True:
            pieces = self._pieces(len(targets), copies)
            try:
                total: tuple[Tensor, Tensor] | None = None
                for piece in pieces:
                    for dropout, count in zip(self._dropouts, calls, strict=True):
                        dropout.rewind(count, piece.start)
                    own = self._piece_sum(inputs[piece], targets[piece], bound, copies)
                    total = own if total is None else (total[0].add_(own[0]), total[1] + own[1])
                assert total is not None
                return total
            except torch.OutOfMemoryError:
                rows = pieces[0].stop - pieces[0].start
                if rows == copies:
                    raise
            finally:
                for dropout in self._dropouts:
                    dropout.first_row = 0
            network.images_per_piece = rows // 2
            if network.device.type == "cuda":
                torch.cuda.empty_cache()

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return self._network.device

    def nothing(self) -> tuple[Tensor, Tensor]:
        """Return the sums of no images: zeros, float32 [T] and a scalar."""
        return torch.zeros_like(self._network.weights), torch.zeros((), device=self.device)

    def _is_covered(self, inputs: Tensor) -> bool:
        """Return whether every weight belongs to one layer with a rule, and each passes once."""
        layers = [*self._compiled, *self._observed]
        weights = [each for layer in layers for each in layer.parameters() if each.requires_grad]
        if Counter(weights) != Counter(self._network.parameters):
            return False
        with _observed_passes(layers) as passes:
            self._module(inputs)
        return Counter(seen.layer for seen in passes) == Counter(layers) and all(
            len(seen.inputs) == len(inputs)
            and seen.inputs.ndim == DIMENSIONS.get(type(seen.layer), 4)
            for seen in passes
        )

    def _pieces(self, rows: int, copies: int) -> list[slice]:
        """Return slices that hold all copies of an image each: as large as the memory allows."""
        limit = copies if self.goes_one_by_one else self._network.images_per_piece or rows
        size = max(1, limit // copies) * copies
        return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]

    def _piece_sum(
        self, inputs: Tensor, targets: Tensor, bound: float, copies: int
    ) -> tuple[Tensor, Tensor]:
        """Return the sum of some images' clipped gradients, and that of their losses.

        An image whose gradient is not finite adds nothing: it could not be clipped.
        """
        if self.goes_one_by_one:
            loss = self._losses(self._module(inputs), targets).mean()
            own = self._network.gradient(loss)
            square = own.square().sum()
            if square.isfinite():
                return own * _factors(square, bound), loss.detach()
            gradient = torch.zeros_like(own)
            return gradient, loss.detach()
        with (
            recorded(self._compiled, copies) as compiled,
            _observed_passes(self._observed) as passes,
        ):
            loss = self._losses(self._module(inputs), targets).sum() / copies
            anchors = [own.anchor for own in compiled[:1]]
            edges: list[Any] = [seen.edge for seen in passes]
            came_back = torch.autograd.grad(loss, [*edges, *anchors], allow_unused=True)
        images = len(targets) // copies
        observed = [
            RULES[type(seen.layer)](seen.layer, seen.inputs, outputs, images)
            for seen, outputs in zip(passes, came_back, strict=False)
        ]
        squares = torch.stack(
            [*(own.squares for own in observed), *(own.squares for own in compiled)]
        ).sum(0)
        is_finite = squares.isfinite()
        if not is_finite.all():
            rows = is_finite.repeat_interleave(copies).nonzero().flatten()
            finite = (inputs[rows], targets[rows])
            gradient, _ = self._piece_sum(*finite, bound, copies) if len(rows) else self.nothing()
            return gradient, loss.detach()
        factors = _factors(squares, bound)
        parts = dict[Tensor, Tensor]()
        for layer_gradients in observed:
            parts |= layer_gradients.weighted(factors)
        for layer, images_gradients in zip(self._compiled, compiled, strict=True):
            parts |= layer.parameter_gradients(factors @ images_gradients.rows)
        gradient = torch.cat([parts[each].reshape(-1) for each in self._network.parameters])
        return gradient, loss.detach()


def _factors(squares: Tensor, bound: float) -> Tensor:
    """Return min(1, bound / norm) for squared norms."""
    return (bound / squares.sqrt().clamp(min=torch.finfo(squares.dtype).tiny)).clamp(max=1.0)


def _trains(layer: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in layer.parameters(recurse=False))


@contextmanager
def _observed_passes(layers: Sequence[nn.Module]) -> Iterator[list[_LayerPass]]:
    """Yield a list that gets each pass of the layers within the context, in their order."""
    passes: list[_LayerPass] = []

    def observe(layer: nn.Module, inputs: tuple[Tensor, ...], outputs: Tensor) -> None:
        passes.append(_LayerPass(layer, inputs[0].detach(), get_gradient_edge(outputs)))

    handles = [layer.register_forward_hook(observe) for layer in layers]
    try:
        yield passes
    finally:
        for handle in handles:
            handle.remove()
