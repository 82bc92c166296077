"""Convolution, 2x2 max pooling and ReLU as one operation on a CPU.

It is several times as fast as one after another. Its numbers equal those of PyTorch's own
operations up to the order of sums in the gradient. The kernels are in `conv_pool.c`.
"""

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedshelf.common.native.compiler import load_library, tensor_address
from fedshelf.common.native.image_gradients import ImageGradients

SOURCE = Path(__file__).with_name("conv_pool.c")


@dataclass(frozen=True)
class PoolGeometry:
    """The shape of a fused convolution and pooling.

    inputs, outputs: channels
    kernel:          side of the kernel, pixels
    padding:         zero padding, pixels
    side:            side of the images, pixels
    relu:            True if a ReLU follows
    """

    inputs: int
    outputs: int
    kernel: int
    padding: int
    side: int
    relu: bool

    @property
    def pooled(self) -> int:
        """The side of the results, pixels."""
        return (self.side + 2 * self.padding - self.kernel + 1) // 2


class ConvPool(nn.Module):
    """A layer that computes a convolution, 2x2 max pooling and ReLU, with its own parameters.

    It maps float32 [B, C, side, side] to float32 [B, outputs, pooled, pooled], both in
    channels-last memory order.

    Attributes:
        per_image: filled by the backward pass; None: the parameters get their gradients as usual
    """

    def __init__(
        self, convolution: nn.Conv2d, geometry: PoolGeometry, kernels: ctypes.CDLL
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self._geometry = geometry
        self._kernels = kernels
        self.per_image: ImageGradients | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled images, float32 [B, outputs, pooled, pooled]."""
        weight, bias = self.convolution.weight, self.convolution.bias
        anchor = None
        if self.per_image is not None:
            weight, bias = weight.detach(), None if bias is None else bias.detach()
            anchor = self.per_image.anchor
        result: Tensor = _ConvPoolOperation.apply(
            images, weight, bias, anchor, self.per_image, self._geometry, self._kernels
        )
        return result

    def parameter_gradients(self, row: Tensor) -> dict[Tensor, Tensor]:
        """Return each parameter with its gradient, of its shape (see `image_gradients`)."""
        weight, bias = self.convolution.weight, self.convolution.bias
        weight_gradient, bias_gradient = _unpacked(row, weight, self._kernels)
        return {weight: weight_gradient} | ({} if bias is None else {bias: bias_gradient})


def conv_pool(convolution: nn.Conv2d, side: int, *, relu: bool) -> ConvPool | None:
    """Return a layer for a convolution, 2x2 max pooling and perhaps ReLU; None if there is none.

    There is none if the convolution is not of stride 1 and zero padding, does not train, or cannot
    be compiled here.

    Args:
        convolution: shared with the new layer
        side: side of the square images, pixels
        relu: True if a ReLU follows, before or after the pooling
    """
    if not _is_plain(convolution):
        return None
    shape = (
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size[0],
        int(convolution.padding[0]),
    )
    geometry = PoolGeometry(*shape, side, relu)
    kernels = _kernels(geometry) if geometry.pooled > 0 else None
    return ConvPool(convolution, geometry, kernels) if kernels is not None else None


def _is_plain(layer: nn.Conv2d) -> bool:
    return (
        layer.weight.requires_grad
        and layer.kernel_size[0] == layer.kernel_size[1]
        and layer.padding in {(p, p) for p in range(layer.kernel_size[0])}
        and (layer.stride, layer.dilation, layer.groups, layer.padding_mode)
        == ((1, 1), (1, 1), 1, "zeros")
    )


@lru_cache(maxsize=64)
def _kernels(geometry: PoolGeometry) -> ctypes.CDLL | None:
    constants = {
        "IC": geometry.inputs,
        "OC": geometry.outputs,
        "K": geometry.kernel,
        "PAD": geometry.padding,
        "SIDE": geometry.side,
        "RELU": int(geometry.relu),
    }
    kernels = load_library(SOURCE, constants)
    if kernels is not None:
        kernels.scratch_bytes.restype = ctypes.c_long
        kernels.gradient_floats.restype = ctypes.c_long
    return kernels


def _unpacked(row: Tensor, weight: Tensor, kernels: ctypes.CDLL) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight and bias from a row in the kernels' order."""
    weight_gradient = torch.empty_like(weight)
    bias_gradient = weight.new_empty(len(weight))
    kernels.unpack(*map(tensor_address, (row, weight_gradient, bias_gradient)))
    return weight_gradient, bias_gradient


class _ConvPoolOperation(torch.autograd.Function):
    """An autograd function that calls the compiled functions on the tensors' memory."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        _anchor: Tensor | None,
        per_image: ImageGradients | None,
        geometry: PoolGeometry,
        kernels: ctypes.CDLL,
    ) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        shape = (len(images), geometry.pooled, geometry.pooled, geometry.outputs)
        out = images.new_empty(shape)
        # of each window: the largest pixel (0 to 3), or that the ReLU is closed
        argmax = torch.empty(shape, dtype=torch.uint8)
        scratch = torch.empty(kernels.scratch_bytes(), dtype=torch.uint8)
        kernels.forward(
            *map(tensor_address, (scratch, images)),
            len(images),
            *map(tensor_address, (weight, bias, out, argmax)),
        )
        ctx.save_for_backward(images, weight, argmax)
        ctx.kernels = kernels
        ctx.scratch = scratch
        ctx.per_image = per_image
        ctx.has_bias = bias is not None
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, argmax = ctx.saved_tensors
        per_image: ImageGradients | None = ctx.per_image
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        images_gradient = torch.empty_like(images) if ctx.needs_input_grad[0] else None
        group = len(images) if per_image is None else per_image.copies
        rows = weight.new_empty((len(images) // group, ctx.kernels.gradient_floats()))
        squares = None if per_image is None else weight.new_empty(len(rows))
        ctx.kernels.backward(
            *map(tensor_address, (ctx.scratch, images)),
            len(images),
            group,
            tensor_address(weight),
            int(ctx.has_bias),
            *map(tensor_address, (gradient, argmax, rows, squares, images_gradient)),
        )
        if per_image is not None and squares is not None:
            per_image.rows, per_image.squares = rows, squares
            return images_gradient, *[None] * 6
        weight_gradient, bias_gradient = _unpacked(rows, weight, ctx.kernels)
        return (
            images_gradient,
            weight_gradient,
            bias_gradient if ctx.has_bias else None,
            *[None] * 4,
        )
