"""Convolution, 2x2 max pooling and ReLU as one operation on a CPU, several times as fast as one after another.

Same numbers as PyTorch's own operations up to the order of sums in the gradient. See `conv_pool.c`.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from common.native.compiler import library

SOURCE = Path(__file__).with_name("conv_pool.c")


@dataclass(frozen=True)
class Geometry:
    """channels in and out, kernel and zero padding and image side in pixels, and whether ReLU follows."""

    inputs: int
    outputs: int
    kernel: int
    padding: int
    side: int
    relu: bool

    @property
    def pooled(self) -> int:
        """Side of the results, pixels."""
        return (self.side + 2 * self.padding - self.kernel + 1) // 2


class ConvPool(nn.Module):
    """What `convolution`, 2x2 max pooling and ReLU do, with the convolution's own parameters.

    float32 [B, C, side, side] to float32 [B, outputs, pooled, pooled], both in channels-last memory order.
    """

    def __init__(self, convolution: nn.Conv2d, geometry: Geometry, kernels: ctypes.CDLL) -> None:
        super().__init__()
        self.convolution, self._geometry, self._kernels = convolution, geometry, kernels

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        bias = self.convolution.bias
        result: Tensor = _Operation.apply(images, self.convolution.weight, bias, self._geometry, self._kernels)
        return result


def fuse(module: nn.Module, example: Tensor) -> nn.Module:
    """A network that computes what `module` does, with the same parameters, using `ConvPool` where it can.

    example: float32 [1, C, H, W] on the CPU. Only a top-level `nn.Sequential` is looked into; it, and
    layers that are not fused, are left as they are and shared.
    """
    if not isinstance(module, nn.Sequential):
        return module
    layers, fused = list(module), []
    with torch.no_grad():
        while layers:
            layer, taken = _fused(layers, example) or (layers[0], 1)
            example, layers = _tried(layer, example), layers[taken:]
            fused.append(layer)
    return nn.Sequential(*fused)


def _tried(layer: nn.Module, example: Tensor) -> Tensor:
    """The layer's result in evaluation mode, in which no statistics move."""
    mode = layer.training
    result: Tensor = layer.eval()(example)
    layer.train(mode)
    return result


def _fused(layers: list[nn.Module], example: Tensor) -> tuple[nn.Module, int] | None:
    """The fused form of the first layers and how many they are, or None."""
    kinds = "".join(next((sign for sign, fits in _SIGNS.items() if fits(layer)), "?") for layer in layers[:3])
    taken, relu = next(((len(p), "r" in p) for p in ("crp", "cpr", "cp") if kinds.startswith(p)), (0, False))
    if not taken or example.shape[2] != example.shape[3]:
        return None
    convolution = layers[0]
    assert isinstance(convolution, nn.Conv2d)
    shape = (convolution.in_channels, convolution.out_channels, convolution.kernel_size[0], int(convolution.padding[0]))
    geometry = Geometry(*shape, example.shape[2], relu)
    kernels = _kernels(geometry) if geometry.pooled > 0 else None
    return (ConvPool(convolution, geometry, kernels), taken) if kernels is not None else None


def _is_plain(layer: nn.Module) -> bool:
    """A square convolution that trains, of stride 1 and zero padding, as `conv_pool.c` has it."""
    return (
        type(layer) is nn.Conv2d
        and layer.weight.requires_grad
        and layer.kernel_size[0] == layer.kernel_size[1]
        and layer.padding in {(p, p) for p in range(layer.kernel_size[0])}
        and (layer.stride, layer.dilation, layer.groups, layer.padding_mode) == ((1, 1), (1, 1), 1, "zeros")
    )


def _is_halving(layer: nn.Module) -> bool:
    """A 2x2 max pooling."""
    if type(layer) is not nn.MaxPool2d:
        return False
    sizes = {layer.kernel_size, layer.stride} <= {2, (2, 2)}
    return sizes and (layer.padding, layer.dilation, layer.ceil_mode, layer.return_indices) == (0, 1, False, False)


_SIGNS: dict[str, Callable[[nn.Module], bool]] = {
    "c": _is_plain,
    "p": _is_halving,
    "r": lambda layer: type(layer) is nn.ReLU,
}


@lru_cache(maxsize=64)
def _kernels(geometry: Geometry) -> ctypes.CDLL | None:
    constants = {
        "IC": geometry.inputs,
        "OC": geometry.outputs,
        "K": geometry.kernel,
        "PAD": geometry.padding,
        "SIDE": geometry.side,
        "RELU": int(geometry.relu),
    }
    kernels = library(SOURCE, constants)
    if kernels is not None:
        kernels.scratch_bytes.restype = ctypes.c_long
    return kernels


class _Operation(torch.autograd.Function):
    """Calls the compiled functions on the tensors' memory."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, kernels: ctypes.CDLL
    ) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        shape = (len(images), geometry.pooled, geometry.pooled, geometry.outputs)
        out, where = images.new_empty(shape), torch.empty(shape, dtype=torch.uint8)
        scratch = torch.empty(kernels.scratch_bytes(), dtype=torch.uint8)
        kernels.forward(*map(_address, (scratch, images)), len(images), *map(_address, (weight, bias, out, where)))
        ctx.save_for_backward(images, weight, where)
        ctx.kernels, ctx.scratch = kernels, scratch
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None, None]:
        images, weight, where = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_weight, of_bias = torch.empty_like(weight), weight.new_empty(len(weight))
        of_images = torch.empty_like(images) if ctx.needs_input_grad[0] else None
        inputs = _address(ctx.scratch), _address(images), len(images), _address(weight), _address(gradient)
        ctx.kernels.backward(*inputs, *map(_address, (where, of_weight, of_bias, of_images)))
        return of_images, of_weight, of_bias if ctx.needs_input_grad[2] else None, None, None


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr() if tensor is not None else None)
