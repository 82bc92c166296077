"""TrivialAugment: one operation an image, drawn with its strength; there is nothing to tune.

Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
Algorithm 1 with the "wide" ranges of Table 7. Two things differ: pixels beyond an edge are
reflected, not black, and shifts are shares of the side (0.45, as AutoAugment's 150 of 331 pixels):
the paper's 32 pixels fit a small image only.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fedshelf.common.images.augment.draws import FurtherDraws
from fedshelf.common.images.augment.geometry import warp

LEVELS = 31  # strengths, from none at all to the strongest
MAX_SHEAR = 0.99
MAX_BLEND = 0.99  # of an image with its base
MAX_SHIFT_SHARE = 0.45  # share of the side
MAX_ROTATION_RADIANS = math.radians(135)
MAX_CLEARED_BITS = 6  # most bits that posterize clears
OPERATION_NAMES = (
    "identity", "shear x", "shear y", "translate x", "translate y", "rotate", "brightness",
    "colour", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip


class DrawnOperations(NamedTuple):
    """The drawn changes of some images.

    operation: int64 [B], an index into OPERATION_NAMES
    level:     float32 [B], strength from 0 to 1
    signed:    float32 [B], the level or its negative
    """

    operation: Tensor
    level: Tensor
    signed: Tensor


def trivial_augment(pixels: Tensor, draws: FurtherDraws) -> Tensor:
    """Apply one operation to each image.

    Args:
        pixels: [B, S, S, C], uint8 or float32 from 0 to 255
        draws: float64 [B] each

    Returns:
        uint8 [B, S, S, C]
    """
    operation = (draws.operation * len(OPERATION_NAMES)).floor().to(torch.int64)
    level = ((draws.level * LEVELS).floor() / (LEVELS - 1)).to(torch.float32)
    drawn = DrawnOperations(operation, level, torch.where(draws.sign < 0.5, -level, level))
    whole = pixels if pixels.dtype == torch.uint8 else _whole(pixels)
    return variant_for(pixels.device)(whole, drawn)


BatchOperation = Callable[[Tensor, DrawnOperations], Tensor]


def variant_for(device: torch.device) -> BatchOperation:
    """Return the quicker way to apply operations on `device`.

    `apply_in_groups` for a CPU; `apply_to_all` for other devices, which would wait for the choice.
    """
    return apply_in_groups if device.type == "cpu" else apply_to_all


def apply_in_groups(pixels: Tensor, drawn: DrawnOperations) -> Tensor:
    """Apply to each image of [B, S, S, 3] its own operation, in groups with the same one."""
    result = pixels.clone()
    for first, last, operation in _OPERATIONS:
        selected = ((drawn.operation >= first) & (drawn.operation <= last)).nonzero()[:, 0]
        if len(selected):
            result[selected] = operation(
                pixels[selected], DrawnOperations(*(values[selected] for values in drawn))
            )
    return result


def apply_to_all(pixels: Tensor, drawn: DrawnOperations) -> Tensor:
    """Apply each operation to all images [B, S, S, 3], and select each image's result.

    Nothing waits for the device: no operation depends on how many images have drawn it.
    """
    result = pixels
    for first, last, operation in _OPERATIONS:
        is_selected = (drawn.operation >= first) & (drawn.operation <= last)
        result = torch.where(_per_image(is_selected), operation(pixels, drawn), result)
    return result


def _move(pixels: Tensor, drawn: DrawnOperations) -> Tensor:
    """Shear, shift or turn the images."""

    def where(name: str, factor: float) -> Tensor:
        return torch.where(
            drawn.operation == OPERATION_NAMES.index(name), factor * drawn.signed, 0.0
        )

    turn = where("rotate", MAX_ROTATION_RADIANS)
    across = turn.sin() + where("shear x", MAX_SHEAR)
    down = where("shear y", MAX_SHEAR) - turn.sin()
    # the side is 2 long
    left = where("translate x", 2 * MAX_SHIFT_SHARE)
    up = where("translate y", 2 * MAX_SHIFT_SHARE)
    theta = torch.stack([turn.cos(), across, left, down, turn.cos(), up], dim=1)
    return _whole(warp(pixels, theta.view(-1, 2, 3)))


def _blend(base: Callable[[Tensor], Tensor], pixels: Tensor, drawn: DrawnOperations) -> Tensor:
    """Move the images away from their `base` or towards it, as Pillow's ImageEnhance does."""
    images = pixels.permute(0, 3, 1, 2)
    factor = _per_image(1 + MAX_BLEND * drawn.signed)
    return _whole(
        torch.lerp(base(images).to(torch.float32), images.to(torch.float32), factor)
    ).permute(0, 2, 3, 1)


def _black(images: Tensor) -> Tensor:
    return torch.zeros_like(images[:1, :1, :1, :1])


def _grey(images: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import rgb_to_grayscale_image

    return rgb_to_grayscale_image(images) if images.shape[1] == 3 else images


def _mean_grey(images: Tensor) -> Tensor:
    return _grey(images).to(torch.float32).mean(dim=(1, 2, 3), keepdim=True)


def _smooth(images: Tensor) -> Tensor:
    """Return the mean of 3x3 pixels in which the middle counts five times; the edges stay."""
    smoothed = images.to(torch.float32)
    inner = smoothed[:, :, 1:-1, 1:-1]
    if inner.numel():
        inner.copy_(((9 * functional.avg_pool2d(smoothed, 3, stride=1) + 4 * inner) / 13).round())
    return smoothed


def _posterize(pixels: Tensor, drawn: DrawnOperations) -> Tensor:
    """Clear the last bits."""
    step = torch.exp2((MAX_CLEARED_BITS * drawn.level).round())
    return pixels & _per_image((256 - step).to(torch.uint8))


def _solarize(pixels: Tensor, drawn: DrawnOperations) -> Tensor:
    """Invert bright pixels."""
    return torch.where(pixels >= _per_image(255 * (1 - drawn.level)), 255 - pixels, pixels)


def _autocontrast(pixels: Tensor, _: DrawnOperations) -> Tensor:
    """Stretch each channel from 0 to 255."""
    darkest = pixels.amin(dim=(1, 2), keepdim=True)
    brightest = pixels.amax(dim=(1, 2), keepdim=True)
    # NaN for a channel of one value
    stretched = (pixels - darkest) / ((brightest - darkest) * (1 / 255))
    return torch.where(brightest > darkest, stretched.to(torch.uint8), pixels)


def _equalize(pixels: Tensor, _: DrawnOperations) -> Tensor:
    from torchvision.transforms.v2.functional import equalize_image

    equalized: Tensor = equalize_image(pixels.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return equalized


# First and last index into OPERATION_NAMES, and their function.
_OPERATIONS: tuple[tuple[int, int, BatchOperation], ...] = (
    (1, 5, _move), (6, 6, partial(_blend, _black)), (7, 7, partial(_blend, _grey)),
    (8, 8, partial(_blend, _mean_grey)), (9, 9, partial(_blend, _smooth)), (10, 10, _posterize),
    (11, 11, _solarize), (12, 12, _autocontrast), (13, 13, _equalize),
)  # fmt: skip


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _whole(pixels: Tensor) -> Tensor:
    """Return the nearest uint8 values."""
    return pixels.round().clamp(0, 255).to(torch.uint8)
