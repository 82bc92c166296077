"""The views of a photo whose features are kept: the photo, and its mirror image."""

import torch
from torch import Tensor

from fedshelf.common.config import DataConfig
from fedshelf.common.config.data import AUGMENTATION_BEYOND_FLIP
from fedshelf.common.images.augment.draws import basic_draws, draws_per_image


def num_views(config: DataConfig) -> int | None:
    """Return the number of views that augmentation makes of a photo; None: more than a few."""
    if any(getattr(config, option) for option in AUGMENTATION_BEYOND_FLIP):
        return None
    return 2 if config.flip else 1


def views(pixels: Tensor, count: int) -> list[Tensor]:
    """Return the first views of photos.

    Args:
        pixels: uint8 [B, S, S, C]
        count: 1: the photos; 2: their mirror images, too

    Returns:
        uint8 [B, S, S, C] each
    """
    return [pixels, pixels.flip(2)][:count]


def drawn_view(features: Tensor, config: DataConfig, numbers: Tensor) -> Tensor:
    """Return the features of the view that each photo draws, as `augment` would draw it.

    Args:
        features: float32 [B, views, ...]
        config: the options of augmentation
        numbers: float64 [B, D] of a `DrawStream`, on the device of the features

    Returns:
        float32 [B, ...]
    """
    if not draws_per_image(config):
        return features[:, 0]
    is_mirrored = (basic_draws(numbers).flip < 0.5).to(torch.int64)
    first = torch.arange(len(features), device=features.device) * features.shape[1]
    return features.flatten(0, 1).index_select(0, first + is_mirrored)
