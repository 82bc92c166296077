"""Augmentation per image, on whole batches, on the device that trains.

Every number drawn comes from NumPy generators that a `DrawStream` keeps, so that all devices see
the same images; the pixels are changed on their own device. Each image takes its numbers in one
fixed order, used or not: switching one option does not change the numbers of the others. With all
options off, nothing is drawn.
"""

import torch
from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment import own
from fedshelf.common.images.augment.draws import (
    DrawStream,
    basic_draws,
    draws_per_image,
    further_draws,
    own_draws,
)
from fedshelf.common.images.augment.erasing import erase
from fedshelf.common.images.augment.geometry import affine, flip_and_crop
from fedshelf.common.images.augment.mixing import BatchBounds, Blend, mix
from fedshelf.common.images.augment.normalise import normalise
from fedshelf.common.images.augment.trivial import trivial_augment

__all__ = [
    "BatchBounds",
    "Blend",
    "DrawStream",
    "augment",
    "draws_per_image",
    "normalise",
    "transform",
]


def augment(
    pixels: Tensor, targets: Tensor, config: DataConfig, numbers: Tensor, batches: BatchBounds
) -> tuple[Tensor, Blend | None]:
    """Augment images by the options of `config`.

    Args:
        pixels: uint8 [B, S, S, C]
        targets: int64 [B]
        config: its augmentation options
        numbers: float64 [B, D] of a `DrawStream`, on the device of the pixels
        batches: the batches within which images are mixed

    Returns:
        pixels for `normalise`: [B, S, S, C], uint8 or float32, values 0 to 255; and the blend of
        mixed images, None if such options are off
    """
    if numbers.shape[1] == 0:
        return pixels, None
    pixels = transform(pixels, config, numbers)
    if config.mixup or config.cutmix:
        return mix(pixels, targets, config, further_draws(numbers), batches)
    return pixels, None


def transform(pixels: Tensor, config: DataConfig, numbers: Tensor) -> Tensor:
    """Apply the options that change each image alone to pixels [B, S, S, channels].

    Flip, crop, TrivialAugment and erasing keep uint8; the other options compute in float32.
    """
    assert pixels.shape[1] == pixels.shape[2], pixels.shape
    draws = basic_draws(numbers)
    if config.flip or config.crop:
        pixels = flip_and_crop(pixels, config, draws)
    if config.rotation or config.translate or config.scale:
        pixels = affine(pixels, config, draws)
    if config.trivial_augment:
        pixels = trivial_augment(pixels, further_draws(numbers))
    if config.brightness:
        pixels = (pixels * _around_one(config.brightness, draws.brightness)).clamp_(0, 255)
    if config.contrast:
        mean = pixels.to(torch.float32).mean(dim=(1, 2, 3), keepdim=True)
        factor = _around_one(config.contrast, draws.contrast)
        pixels = torch.lerp(mean, pixels.to(torch.float32), factor).clamp_(0, 255)
    if config.erasing:
        pixels = erase(pixels, config.erasing, further_draws(numbers))
    if config.augmentation:
        pixels = own.find(config.augmentation)(pixels, own_draws(numbers))
    return pixels


def _around_one(spread: float, position: Tensor) -> Tensor:
    """Return factors within 1 plus or minus `spread`: float32 [B, 1, 1, 1]."""
    return (1 + spread * (2 * position - 1)).to(torch.float32)[:, None, None, None]
