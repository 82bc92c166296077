"""Intersection over union of the classes of pixels.

Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) Challenge", Section 4.2: of a class,

    IoU = true positives / (true positives + false positives + false negatives)

over all pixels of all photos; the figure is the mean over the classes that occur. Pixels of which
nobody can say the class (255) count nowhere.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.metric import Metric

LABELLED_PIXELS = "labelled pixels"
"""The outputs that metrics of masks are given: classes [B, S, S], guessed and true."""

HIDDEN = 255
_MAX_PIXELS = 2**22  # of a photo


class MeanIoU(Metric):
    """Mean over the classes of the intersection over union of their pixels.

    Args:
        classes: C, the background among them
    """

    name = "iou"
    outputs = LABELLED_PIXELS

    def __init__(self, classes: int = 2) -> None:
        self._classes = classes

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (C, C): pixels by true class and guess."""
        return (classes, classes)

    def sums(self, outputs: NDArray[np.integer], targets: NDArray[np.integer]) -> Sums:
        """Return the pixels by true class and guess, int64 [C, C].

        Args:
            outputs: guessed classes of pixels [B, S, S]
            targets: true ones [B, S, S]
        """
        is_known = targets != HIDDEN
        cells = targets[is_known].astype(np.int64) * self._classes + outputs[is_known]
        counted = np.bincount(cells, minlength=self._classes**2)
        return counted.reshape(self._classes, self._classes)

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the mean IoU; nan without pixels."""
        overlaps = class_overlaps(sums)
        known = overlaps[~np.isnan(overlaps)]
        return {self.name: float(known.mean()) if len(known) else math.nan}

    def is_possible(self, sums: Sums, images: int) -> bool:
        """Return whether so many photos can have these pixels."""
        return bool((sums >= 0).all() and sums.sum() <= images * _MAX_PIXELS)


def class_overlaps(pixels: Sums) -> NDArray[np.float64]:
    """Return the IoU of each class, float64 [C]; nan for one that neither is nor is guessed.

    Args:
        pixels: int64 [C, C], by true class and guess
    """
    own = np.diag(pixels).astype(np.float64)
    union = pixels.sum(0) + pixels.sum(1) - own
    overlaps: NDArray[np.float64] = np.divide(
        own, union, out=np.full(len(own), np.nan), where=union > 0
    )
    return overlaps
