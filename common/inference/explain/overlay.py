"""A photo with its heat map over it."""

import numpy as np
from PIL import Image

from fedshelf.common.inference.predictors.predictor import Floats

_STRONGEST_TINT = 0.7  # opacity at the map's maximum: the photo must show through


def overlay(photo: Image.Image, heat: Floats) -> Image.Image:
    """Return a photo tinted from yellow to red where it speaks for a class.

    Args:
        photo: RGB, of any size; the map is stretched over it
        heat: float32 [h, w], above 0 where a place speaks for the class
    """
    positive = np.maximum(heat, 0)
    strength = positive / max(float(positive.max()), 1e-30)
    stretched = Image.fromarray(strength.astype(np.float32)).resize(
        photo.size, Image.Resampling.BILINEAR
    )
    shares = np.asarray(stretched)[..., None]
    tint = np.concatenate(
        [np.full_like(shares, 255), 220 * (1 - shares), np.zeros_like(shares)], axis=2
    )
    opacity = _STRONGEST_TINT * shares
    mixed = np.asarray(photo, np.float32) * (1 - opacity) + tint * opacity
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
