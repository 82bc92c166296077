"""The loss of a locator's maps and its gradient in one pass over the boxes, compiled.

It is that of `common.scenes.centre_loss`, to rounding, without a bump of each box on all cells.
"""

import ctypes
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedshelf.common.native.compiler import load_library, tensor_address
from fedshelf.common.scenes import centre_loss
from fedshelf.common.scenes.difficult import DIFFICULT

SOURCE = Path(__file__).with_name("centre_loss.c")


class _Constants(ctypes.Structure):
    """The constants of the loss, by the names of the C file."""

    _fields_ = tuple(
        (name, ctypes.c_float)
        for name in ("deviation", "least_deviation", "least_weight", "edges_share", "difficult")
    )


def box_losses(maps: Tensor, boxes: Tensor, stride: int) -> Tensor:
    """Return the loss of each photo, float32 [B]; PyTorch's own operations do what is not compiled.

    Args:
        maps: float32 [B, C + 4, H, W], a locator's result
        boxes: float32 [B, K, 5], see `centre_targets`
        stride: pixels of a photo for one cell
    """
    kernels = _kernels() if maps.device.type == "cpu" and maps.dtype == torch.float32 else None
    if kernels is None:
        classes, height, width = maps.shape[1] - centre_loss.EDGES, *maps.shape[2:]
        targets = centre_loss.centre_targets(boxes, classes, stride, height, width)
        return centre_loss.centre_losses(maps, targets)
    losses: Tensor = _BoxLosses.apply(maps, boxes, stride, kernels)
    return losses


@lru_cache(maxsize=1)
def _kernels() -> ctypes.CDLL | None:
    return load_library(SOURCE, {})


class _BoxLosses(torch.autograd.Function):
    """An autograd function that computes the gradient together with the losses."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, boxes: Tensor, stride: int, kernels: ctypes.CDLL) -> Tensor:
        is_last = maps.is_contiguous(memory_format=torch.channels_last)
        maps = maps if is_last else maps.contiguous()
        boxes = boxes.to(torch.float32).contiguous()
        gradient = torch.empty_like(maps)
        losses = maps.new_empty(len(maps))
        channels, height, width = maps.shape[1:]
        constants = _Constants(
            centre_loss.DEVIATION,
            centre_loss.LEAST_DEVIATION,
            centre_loss.LEAST_WEIGHT,
            centre_loss.EDGES_SHARE,
            DIFFICULT,
        )
        failed = kernels.losses(
            tensor_address(maps),
            ctypes.c_long(len(maps)),
            ctypes.c_long(1 if is_last else height * width),
            ctypes.c_long(channels if is_last else 1),
            tensor_address(boxes),
            boxes.shape[1],
            channels - centre_loss.EDGES,
            height,
            width,
            ctypes.c_float(stride),
            ctypes.byref(constants),
            tensor_address(losses),
            tensor_address(gradient),
        )
        if failed:
            raise MemoryError
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None, None, None], None, None, None
