"""Random erasing: a rectangle of the image is greyed out, as if an object stood before the product.

Zhong, Zheng, Kang, Li and Yang 2020, "Random Erasing Data Augmentation", Algorithm 1 with its area
(2% to 40%) and aspect (0.3 to 1 / 0.3). A side that is longer than the image's is cut, not drawn
again; the fill is mid-grey, near the mean of photos (the paper's variant RE-M).
"""

import math

import torch
from torch import Tensor

from fedshelf.common.images.augment.draws import FurtherDraws

AREA_SHARES = (0.02, 0.4)  # share of the image
MIN_ASPECT = 0.3  # height / width, from this to its inverse; uniform in the logarithm
GREY = 127


def erase(pixels: Tensor, share: float, draws: FurtherDraws) -> Tensor:
    """Grey out a rectangle in some images.

    Args:
        pixels: [B, S, S, C] of any type; the result has the same shape and type
        share: of the images that get a rectangle
        draws: float64 [B] each
    """
    side = pixels.shape[1]
    area = side * side * (AREA_SHARES[0] + (AREA_SHARES[1] - AREA_SHARES[0]) * draws.erase_area)
    aspect = torch.exp(math.log(MIN_ASPECT) * (1 - 2 * draws.erase_aspect))
    height, width = (
        lengths.sqrt().round().clamp(1, side) for lengths in (area * aspect, area / aspect)
    )
    top = (draws.erase_y * (side - height + 1)).floor()
    left = (draws.erase_x * (side - width + 1)).floor()
    inside = (
        span_mask(side, top, top + height)[:, :, None]
        & span_mask(side, left, left + width)[:, None]
    )
    inside &= (draws.erase < share)[:, None, None]
    return pixels.masked_fill(inside[..., None], GREY)


def span_mask(side: int, start: Tensor, stop: Tensor) -> Tensor:
    """Return a mask, bool [B, side], of the pixels from `start` up to before `stop`, each [B]."""
    pixels = torch.arange(side, device=start.device)
    return (pixels >= start[:, None]) & (pixels < stop[:, None])
