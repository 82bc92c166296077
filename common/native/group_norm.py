"""Group norm and ReLU as one operation on a CPU, with the kernels of `group_norm.c`."""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fedshelf.common.native.compiler import load_library, tensor_address

SOURCE = Path(__file__).with_name("group_norm.c")


class GroupNorm(nn.Module):
    """A layer that computes `norm` and, if `relu`, ReLU, with the norm's own parameters.

    It maps float32 [B, C, side, side] to the same shape, both in channels-last memory order.
    """

    def __init__(self, norm: nn.GroupNorm, kernels: ctypes.CDLL) -> None:
        super().__init__()
        self.norm = norm
        self._kernels = kernels

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images, float32 [B, C, side, side]."""
        norm = self.norm
        result: Tensor = _GroupNormOperation.apply(
            images, norm.weight, norm.bias, norm.eps, self._kernels
        )
        return result


def group_norm(norm: nn.GroupNorm, pixels: int, *, relu: bool) -> GroupNorm | None:
    """Return a layer for a group norm and perhaps ReLU; None if there is none.

    There is none if the norm has no weights that train, or the layer cannot be compiled here.

    Args:
        norm: shared with the new layer
        pixels: height times width of the images
        relu: True if a ReLU follows
    """
    if not norm.affine or not norm.weight.requires_grad:
        return None
    kernels = _kernels(norm.num_channels, norm.num_groups, pixels, relu)
    return GroupNorm(norm, kernels) if kernels is not None else None


@lru_cache(maxsize=64)
def _kernels(channels: int, groups: int, pixels: int, relu: bool) -> ctypes.CDLL | None:
    return load_library(
        SOURCE, {"CHANNELS": channels, "GROUPS": groups, "PIXELS": pixels, "RELU": int(relu)}
    )


class _GroupNormOperation(torch.autograd.Function):
    """An autograd function that calls the compiled functions on the tensors' memory."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor, epsilon: float, kernels: ctypes.CDLL
    ) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(images)
        mean = images.new_empty(images.shape[:2])
        scale = images.new_empty(images.shape[:2])
        inputs = (
            tensor_address(images),
            len(images),
            tensor_address(weight),
            tensor_address(bias),
            ctypes.c_float(epsilon),
        )
        kernels.forward(*inputs, *map(tensor_address, (out, mean, scale)))
        ctx.save_for_backward(images, weight, out, mean, scale)
        ctx.kernels = kernels
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        images, weight, out, mean, scale = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        images_gradient = torch.empty_like(images)
        weight_gradient = torch.empty_like(weight)
        bias_gradient = torch.empty_like(weight)
        results = map(tensor_address, (weight_gradient, bias_gradient, images_gradient))
        inputs = (
            tensor_address(images),
            len(images),
            *map(tensor_address, (weight, out, gradient, mean, scale)),
        )
        ctx.kernels.backward(*inputs, *results)
        return images_gradient, weight_gradient, bias_gradient, None, None
