"""Labels as a file has them, before they are laid on their photo and checked."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.listing.split import Split

_LARGEST = 1e9  # no photo has so many pixels on a side


@dataclass(frozen=True)
class PhotoFile:
    """A photo of a folder.

    Attributes:
        name: relative to the folder, with slashes
        path: the file
        split: that the names of the folders above it say, or None
    """

    name: str
    path: Path
    split: Split | None = None


@dataclass(frozen=True)
class RawBox:
    """One product, in the unit of its file: pixels, or shares of the photo.

    Attributes:
        label: place in the file's classes, -1: none
        corners: left, top, right, bottom; None: the outline says
        polygons: float64 [n, 2] each
        bitmap: run lengths, see `run_lengths`
        bitmap_size: width and height that the file gives for the bitmap
        is_difficult: the file says that the product is hardly seen
    """

    label: int
    corners: tuple[float, float, float, float] | None
    polygons: tuple[NDArray[np.float64], ...] = ()
    bitmap: NDArray[np.int64] | None = None
    bitmap_size: tuple[int, int] = (0, 0)
    is_difficult: bool = False


@dataclass
class RawScene:
    """All labels of one photo.

    Attributes:
        photo: its file
        size: width and height that the label file gives (pixels); None: boxes are in shares
        boxes: the products
        reason: why the photo is not used, in a few words; empty: it is
    """

    photo: PhotoFile
    size: tuple[float, float] | None
    boxes: list[RawBox] = field(default_factory=list)
    reason: str = ""


def number(value: object) -> float:
    """Return a number of a file, which may be NaN or huge there.

    Raises:
        ValueError: it is none, or no photo is so large
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{str(value)[:20]!r} is no number")
    try:
        found = float(value)
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{str(value)[:20]!r} is no number") from error
    if not math.isfinite(found) or abs(found) > _LARGEST:
        raise ValueError(f"{str(value)[:20]!r} is no number of pixels")
    return found


def polygon(numbers: list[float]) -> NDArray[np.float64]:
    """Return the corners of a polygon, [n, 2], from x and y in turn.

    Raises:
        ValueError: there are fewer than three, or y is missing
    """
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"a polygon of {len(numbers)} numbers")
    return np.array(numbers, np.float64).reshape(-1, 2)


def check_upright(rotation: str) -> None:
    """Raise ValueError for a box that is turned: its edges are those before it was turned.

    CVAT writes so in COCO and Pascal VOC (https://github.com/cvat-ai/cvat/issues/4745).

    Args:
        rotation: in degrees
    """
    if number(rotation) % 180:
        raise ValueError(f"a box turned by {number(rotation):g} degrees; draw it upright")
