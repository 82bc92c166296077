"""The convolution of many stores at once, in three equivalent forms, and the choice of the
fastest.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class ConvolutionGeometry:
    """The geometry of a convolution: (vertical, horizontal) each.

    groups: of one store's channels
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "ConvolutionGeometry":
        """Return the geometry of `layer`, whose padding is given in pixels."""
        assert not isinstance(layer.padding, str), layer.padding
        return cls(_pair(layer.stride), _pair(layer.padding), _pair(layer.dilation), layer.groups)


Form = Callable[[Tensor, Tensor, Tensor | None, ConvolutionGeometry], Tensor]
"""Pixels [S * B, C, H, W], weights [S, O, C / groups, h, w], bias [S, O] or None -> [S * B, O, H',
W'].
"""


def fastest_form(pixels: Tensor, geometry: ConvolutionGeometry) -> Form:
    """Return the fastest form for pixels [S * B, C, H, W] on their device.

    Measured on a CPU only (docs/log.md).
    """
    if not pixels.is_cuda:
        return one_by_one
    return columns if geometry.groups == 1 and geometry.dilation == (1, 1) else merged


def one_by_one(
    pixels: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry
) -> Tensor:
    """Compute one convolution a store, [S * B, C, H, W]: the least work where a start is cheap."""
    images = pixels.split(len(pixels) // len(weight))
    biases = bias.unbind() if bias is not None else [None] * len(weight)
    g = geometry
    return torch.cat(
        [
            functional.conv2d(x, w, b, g.stride, g.padding, g.dilation, g.groups)
            for x, w, b in zip(images, weight.unbind(), biases, strict=True)
        ]
    )


def merged(
    pixels: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry
) -> Tensor:
    """Compute one convolution of [S * B, C, H, W] whose groups of channels are the stores."""
    stores, outputs = weight.shape[:2]
    batch = pixels.unflatten(0, (stores, -1)).transpose(0, 1).flatten(1, 2)  # [B, S * C, H, W]
    bias = bias.flatten() if bias is not None else None
    g = geometry
    out = functional.conv2d(
        batch, weight.flatten(0, 1), bias, g.stride, g.padding, g.dilation, stores * g.groups
    )
    images: Tensor = out.unflatten(1, (stores, outputs)).transpose(0, 1).flatten(0, 1)
    return images


def columns(
    pixels: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvolutionGeometry
) -> Tensor:
    """Compute one batched matrix product of the windows of [S * B, C, H, W] as rows.

    The result is in channels-last order. For one group and dilation 1. Chellapilla, Puri and Simard
    2006, "High Performance Convolutional Neural Networks for Document Processing".
    """
    stores, outputs, _, height, width = weight.shape
    (down, across), (top, left) = geometry.stride, geometry.padding
    kind = pixels.device.type
    if torch.is_autocast_enabled(kind):  # before pixels are copied, not after
        pixels, weight = (tensor.to(torch.get_autocast_dtype(kind)) for tensor in (pixels, weight))
    if top or left:
        pixels = functional.pad(pixels, (left, left, top, top))
    # [S * B, H', W', C, h, w]
    windows = pixels.permute(0, 2, 3, 1).unfold(1, height, down).unfold(2, width, across)
    # [S, B * H' * W', h * w * C]
    rows = windows.permute(0, 1, 2, 4, 5, 3).reshape(stores, -1, weight[0, 0].numel())
    matrix = weight.permute(0, 3, 4, 2, 1).reshape(stores, -1, outputs)
    out = torch.bmm(rows, matrix) if bias is None else torch.baddbmm(bias[:, None], rows, matrix)
    return out.view(*windows.shape[:3], outputs).permute(0, 3, 1, 2)


def _pair(value: tuple[int, ...]) -> tuple[int, int]:
    first, second = value
    return first, second
