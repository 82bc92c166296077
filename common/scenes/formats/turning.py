"""Points and pictures of a photo as it is stored, turned as EXIF turns the photo upright."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Pixel = TypeVar("Pixel", np.bool_, np.uint8)
Points = NDArray[Any]
"""x and y, or boxes, of any precision."""


def turn_points(points: Points, orientation: int, width: float, height: float) -> Points:
    """Turn points.

    Args:
        points: [..., 2], x and y on the stored photo
        orientation: of EXIF 2.32, 1 to 8
        width: of the stored photo
        height: of the stored photo

    >>> turn_points(np.array([1.0, 2.0]), 6, 10, 20).tolist()  # a quarter turn clockwise
    [18.0, 1.0]
    """
    x, y = points[..., 0], points[..., 1]
    upright = {
        1: (x, y),
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }
    return np.stack(upright[orientation], axis=-1)


def turn_corners(corners: Points, orientation: int, width: float, height: float) -> Points:
    """Turn boxes, [K, 4]; otherwise as `turn_points`."""
    points = turn_points(corners.reshape(-1, 2, 2), orientation, width, height)
    turned: Points = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    return turned


def turn_pixels(pixels: NDArray[Pixel], orientation: int) -> NDArray[Pixel]:
    """Turn a picture, [height, width] as stored, upright."""
    if orientation >= 5:
        pixels = pixels.T
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
