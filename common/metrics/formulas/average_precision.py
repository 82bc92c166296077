"""Average precision of boxes, from histograms of their scores that add up over stores.

Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; the figures are those of its detection
evaluation (cocodataset.org/#detection-eval). At a least overlap t (intersection over union), each
box has found a product or has not (`common.scenes.matching`). With TP(s) and FP(s) the boxes of
score s or more that have, and have not, of P products:

    recall(s) = TP(s) / P,    precision(s) = TP(s) / (TP(s) + FP(s))
    AP_t = mean over r = 0, 0.01, ..., 1 of max {precision(s) : recall(s) >= r}

AP is the mean of AP_t over t = 0.5, 0.55, ..., 0.95. Instead of all scores, two histograms for each
t are kept. Within a bin, found and not found are taken to be evenly mixed; the result differs from
that of the scores themselves by less than 0.002 (`tests/common/metrics/formulas`).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.metric import Better, Metric
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.matching import match_at

LOCATED = "located boxes"
"""The outputs that metrics of boxes are given: `Boxes` of each photo, found and true."""

BINS = 256
LEAST_OVERLAPS = tuple(value / 100 for value in range(50, 100, 5))
MAX_FALSE_ALARMS = {"1": 1.0, "10th": 0.1}  # a figure's ending -> boxes without product per photo
_RECALLS = np.linspace(0, 1, 101)
_MAX_BOXES = 1000  # of a photo


class AveragePrecision(Metric):
    """AP, AP at overlaps 0.5 and 0.75, and the recall at overlap 0.5 for given false alarms.

    The figure `ap_recall_1` is the share of products that are found when there is one box without a
    product per photo on average; `ap_recall_10th`, when there is one in ten photos.
    """

    name = "ap"
    outputs = LOCATED

    @property
    def better(self) -> Mapping[str, Better]:
        """Return the figures' names; of each more is better."""
        recalls = (f"ap_recall_{ending}" for ending in MAX_FALSE_ALARMS)
        return dict.fromkeys(["ap", "ap_50", "ap_75", *recalls], "higher")

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (1 + T * 2 * BINS,): products, then boxes by overlap, found or not, and score."""
        return (1 + len(LEAST_OVERLAPS) * 2 * BINS,)

    def sums(self, outputs: Sequence[Boxes], targets: Sequence[Boxes]) -> Sums:
        """Return the number of products, and the histograms of all photos.

        Args:
            outputs: of each photo the boxes that a network found
            targets: of each photo the products' boxes
        """
        counted = np.zeros((len(LEAST_OVERLAPS), 2, BINS), np.int64)
        for found, true in zip(outputs, targets, strict=True):
            places = (found.scores * BINS).astype(np.int64).clip(0, BINS - 1)
            matched = match_at(found, true, LEAST_OVERLAPS).astype(np.int64)
            np.add.at(counted, (np.arange(len(counted))[:, None], matched, places), 1)
        return np.concatenate([[sum(map(len, targets))], counted.ravel()])

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the figures; nan without products."""
        products, histograms = parts_of(sums)
        precisions = [average_precision(products, row) for row in histograms]
        found, alarms = histograms[0, 1, ::-1].cumsum(), histograms[0, 0, ::-1].cumsum()
        recalls = {
            f"ap_recall_{ending}": _recall_at(found, alarms, products, most * counts.num_examples)
            for ending, most in MAX_FALSE_ALARMS.items()
        }
        return {
            "ap": float(np.mean(precisions)),
            "ap_50": precisions[LEAST_OVERLAPS.index(0.5)],
            "ap_75": precisions[LEAST_OVERLAPS.index(0.75)],
            **recalls,
        }

    def is_possible(self, sums: Sums, images: int) -> bool:
        """Return whether so many photos can have so many products and boxes."""
        return bool((sums >= 0).all() and (sums <= images * _MAX_BOXES).all())


def parts_of(sums: Sums) -> tuple[int, NDArray[np.int64]]:
    """Return the products and the histograms, int64 [T, 2, BINS], the row 1 of those found."""
    return int(sums[0]), sums[1:].reshape(len(LEAST_OVERLAPS), 2, BINS)


def precision_curve(
    products: int, histogram: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recalls 0, 0.01, ..., 1 and the best precision at each or a higher one.

    Args:
        products: P, more than 0
        histogram: int64 [2, BINS], boxes without and with a product, by score
    """
    alarms, found = histogram[:, ::-1].astype(np.float64)
    if not found.any():
        return _RECALLS, np.zeros(len(_RECALLS))
    found_before, alarms_before = found.cumsum() - found, alarms.cumsum() - alarms
    wanted = np.ceil(_RECALLS * products - 1e-9).clip(1)  # products to be found
    reached = np.searchsorted(found.cumsum(), wanted)
    is_reached = reached < BINS
    place = reached.clip(0, BINS - 1)
    # in any order of a bin's boxes alike, before the k-th of n found are k / (n + 1) of the alarms
    share = (wanted - found_before[place]) / (found[place] + 1)
    precision = wanted / (wanted + alarms_before[place] + share * alarms[place])
    # the best one with more products may be that of the last one found in a bin
    alarms_at_last = alarms_before + alarms * found / (found + 1)
    ends = found.cumsum() / np.maximum(found.cumsum() + alarms_at_last, 1e-9)
    best_later = np.maximum.accumulate(ends[::-1])[::-1]
    precision = np.maximum(precision, best_later[place])
    precision = np.where(is_reached, precision, 0.0)
    return _RECALLS, np.maximum.accumulate(precision[::-1])[::-1]


def average_precision(products: int, histogram: NDArray[np.int64]) -> float:
    """Return AP at one overlap; nan without products (arguments as for `precision_curve`)."""
    return float(precision_curve(products, histogram)[1].mean()) if products else math.nan


def _recall_at(
    found: NDArray[np.int64], alarms: NDArray[np.int64], products: int, most: float
) -> float:
    """Return the recall at the lowest score with at most `most` false alarms above it.

    Args:
        found: int64 [BINS], boxes with a product of this or a higher score, from high to low
        alarms: int64 [BINS], the same for boxes without a product
        products: P
        most: false alarms
    """
    if not products:
        return math.nan
    allowed = found[alarms <= most]
    return float(allowed[-1] / products) if len(allowed) else 0.0
