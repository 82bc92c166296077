"""Group norm and ReLU as one operation on a CPU, with the kernels of `group_norm.c`."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedshelf.common.native.compiler import load_library, tensor_address
from fedshelf.common.native.image_gradients import ImageGradients

SOURCE = Path(__file__).with_name("group_norm.c")


class _Compiled(NamedTuple):
    kernels: ctypes.CDLL
    relu: bool


class GroupNorm(nn.Module):
    """A layer that computes `norm` and, if `relu`, ReLU, with the norm's own parameters.

    It maps float32 [B, C, H, W] to the same shape, both in channels-last memory order.

    Attributes:
        per_image: filled by the backward pass; None: the parameters get their gradients as usual
    """

    def __init__(self, norm: nn.GroupNorm, compiled: _Compiled) -> None:
        super().__init__()
        self.norm = norm
        self._compiled = compiled
        self.per_image: ImageGradients | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images, float32 [B, C, H, W]."""
        norm = self.norm
        weight: Tensor = norm.weight
        bias: Tensor = norm.bias
        anchor = None
        if self.per_image is not None:
            weight, bias, anchor = weight.detach(), bias.detach(), self.per_image.anchor
        result: Tensor = _GroupNormOperation.apply(
            images, weight, bias, anchor, self.per_image, norm.eps, self._compiled
        )
        return result

    def parameter_gradients(self, row: Tensor) -> dict[Tensor, Tensor]:
        """Return each parameter with its gradient, of its shape (see `image_gradients`)."""
        return dict(zip((self.norm.weight, self.norm.bias), row.chunk(2), strict=True))


def group_norm(norm: nn.GroupNorm, *, relu: bool) -> GroupNorm | None:
    """Return a layer for a group norm and perhaps ReLU; None if there is none.

    There is none if the norm has no weights that train, or the layer cannot be compiled here.

    Args:
        norm: shared with the new layer
        relu: True if a ReLU follows
    """
    if not norm.affine or not norm.weight.requires_grad:
        return None
    kernels = _kernels(norm.num_channels, norm.num_groups, relu)
    return GroupNorm(norm, _Compiled(kernels, relu)) if kernels is not None else None


@lru_cache(maxsize=64)
def _kernels(channels: int, groups: int, relu: bool) -> ctypes.CDLL | None:
    return load_library(SOURCE, {"CHANNELS": channels, "GROUPS": groups, "RELU": int(relu)})


def _lengths(images: Tensor) -> tuple[ctypes.c_long, ctypes.c_long]:
    """Return the number of images [B, C, H, W] and of the pixels of each."""
    return ctypes.c_long(len(images)), ctypes.c_long(images.shape[2] * images.shape[3])


class _GroupNormOperation(torch.autograd.Function):
    """An autograd function that calls the compiled functions on the tensors' memory."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor,
        _anchor: Tensor | None,
        per_image: ImageGradients | None,
        epsilon: float,
        compiled: _Compiled,
    ) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(images)
        mean = images.new_empty(images.shape[:2])
        scale = images.new_empty(images.shape[:2])
        inputs = (
            tensor_address(images),
            *_lengths(images),
            tensor_address(weight),
            tensor_address(bias),
            ctypes.c_float(epsilon),
        )
        compiled.kernels.forward(*inputs, *map(tensor_address, (out, mean, scale)))
        # only a ReLU's gradient reads the result, which a layer that follows may change in place
        ctx.save_for_backward(images, weight, out if compiled.relu else images, mean, scale)
        ctx.kernels = compiled.kernels
        ctx.per_image = per_image
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, out, mean, scale = ctx.saved_tensors
        per_image: ImageGradients | None = ctx.per_image
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        images_gradient = torch.empty_like(images)
        group = len(images) if per_image is None else per_image.copies
        rows = weight.new_empty((len(images) // group, 2 * len(weight)))
        squares = None if per_image is None else weight.new_empty(len(rows))
        ctx.kernels.backward(
            tensor_address(images),
            *_lengths(images),
            ctypes.c_long(group),
            *map(tensor_address, (weight, out, gradient, mean, scale)),
            *map(tensor_address, (rows, squares, images_gradient)),
        )
        if per_image is not None and squares is not None:
            per_image.rows, per_image.squares = rows, squares
            return images_gradient, *[None] * 6
        weight_gradient, bias_gradient = rows[0].chunk(2)
        return images_gradient, weight_gradient, bias_gradient, *[None] * 4
