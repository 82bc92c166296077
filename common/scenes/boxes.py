"""The boxes of one photo, and how much boxes overlap."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

MAX_OVERLAP = 0.6  # intersection over union of two boxes above which they are one product


@dataclass(frozen=True)
class Boxes:
    """K boxes on one photo.

    Attributes:
        corners: float32 [K, 4], left, top, right and bottom edge in pixels of the upright photo; 0
            is the outer edge of the first pixel, so a box of the whole photo is 0, 0, width, height
        classes: int64 [K], places in a list of class names; -1: a product without a name;
            `common.scenes.difficult.DIFFICULT`: a product that is hardly seen
        scores: float32 [K], 0 to 1, how sure a network is of a box; 1 for boxes that people drew

    >>> shelf = Boxes.drawn(np.array([[0, 0, 4, 4], [2, 0, 6, 4]]))
    >>> shelf.areas.tolist()
    [16.0, 16.0]
    >>> (overlaps(shelf, shelf) * 3).tolist()
    [[3.0, 1.0], [1.0, 3.0]]
    """

    corners: NDArray[np.float32]
    classes: NDArray[np.int64]
    scores: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.corners)
        assert self.corners.shape == (count, 4), self.corners.shape
        assert self.classes.shape == self.scores.shape == (count,), (self.classes, self.scores)

    @classmethod
    def drawn(cls, corners: NDArray[np.generic], classes: NDArray[np.int64] | None = None) -> Self:
        """Return boxes that a person drew: all scores are 1.

        Args:
            corners: [K, 4], as in the attribute
            classes: int64 [K]; None: no box has a name
        """
        count = len(corners)
        return cls(
            np.asarray(corners, np.float32).reshape(count, 4),
            np.full(count, -1, np.int64) if classes is None else classes,
            np.ones(count, np.float32),
        )

    def __len__(self) -> int:
        return len(self.corners)

    def select(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return the boxes at some places, in their order (or by a mask, bool [K])."""
        return type(self)(self.corners[places], self.classes[places], self.scores[places])

    def scaled(self, across: float, down: float) -> Self:
        """Return the boxes on a photo that is stretched by two factors."""
        factors = np.array([across, down] * 2, np.float32)
        return type(self)(self.corners * factors, self.classes, self.scores)

    @property
    def areas(self) -> NDArray[np.float32]:
        """The area of each box in square pixels, float32 [K]."""
        left, top, right, bottom = self.corners.T
        areas: NDArray[np.float32] = (right - left).clip(0) * (bottom - top).clip(0)
        return areas


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float32]:
    """Return the intersection over union of each pair of boxes, float32 [K, L].

    It is 0 for two boxes without an area.
    """
    low = np.maximum(first.corners[:, None, :2], second.corners[None, :, :2])
    high = np.minimum(first.corners[:, None, 2:], second.corners[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    union = first.areas[:, None] + second.areas[None] - shared
    ratios: NDArray[np.float32] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return ratios


def surest(boxes: Boxes, max_overlap: float = MAX_OVERLAP) -> Boxes:
    """Return boxes without those that a surer one covers.

    At one place is one product, so the class of the surer box is believed: a product that a network
    takes for two classes counts once.

    Args:
        boxes: the surest first
        max_overlap: intersection over union above which two boxes are one product; 1: none are
    """
    if max_overlap >= 1:
        return boxes
    is_twice = overlaps(boxes, boxes) > max_overlap
    is_kept = np.ones(len(boxes), dtype=bool)
    for place in range(len(boxes)):
        if is_kept[place]:
            is_kept[place + 1 :] &= ~is_twice[place, place + 1 :]
    return boxes.select(np.flatnonzero(is_kept))
