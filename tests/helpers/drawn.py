"""Augmentation with numbers that a test chooses, or with those of a store's training."""

import torch
from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment import BatchBounds, Blend, DrawStream, augment
from fedshelf.common.images.augment.draws import BasicDraws, FurtherDraws


def drawn(images: int = 1, **fixed: float) -> Tensor:
    """The same numbers for all images, as a `Stream` gives them; in the middle, basic options
    change nothing.
    """
    values = [fixed.get(name, 0.5) for name in (*BasicDraws._fields, *FurtherDraws._fields)]
    return torch.tensor(values, dtype=torch.float64).repeat(images, 1)


def stream(config: DataConfig, round: int = 1) -> DrawStream:
    """That of a store in a round."""
    return DrawStream(config, 7, round, "store")


def augmented(
    pixels: Tensor, config: DataConfig, targets: Tensor | None = None
) -> tuple[Tensor, Blend | None]:
    """Images as a store's first batch."""
    labels = torch.arange(len(pixels)) if targets is None else targets
    numbers = torch.from_numpy(stream(config).take(len(pixels)))
    return augment(pixels, labels, config, numbers, BatchBounds(0, len(pixels)))


def ramp(images: int = 1, side: int = 4, channels: int = 1) -> Tensor:
    """Rows count in tens, columns in ones: pixel (2, 3) is 23."""
    values = torch.arange(side)[:, None] * 10 + torch.arange(side)
    return values.to(torch.uint8)[None, :, :, None].repeat(images, 1, 1, channels)


def noise(images: int, side: int = 16, channels: int = 3, seed: int = 0) -> Tensor:
    """Every pixel at random."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(
        0, 256, (images, side, side, channels), dtype=torch.uint8, generator=generator
    )
