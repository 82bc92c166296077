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

If boxes have classes, a box finds products of its own class alone, each class has histograms of its
own, and AP is the mean over the classes that have products: what others call mAP.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

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
_HISTOGRAMS = (len(LEAST_OVERLAPS), 2, BINS)
_NUMBERS = 1 + math.prod(_HISTOGRAMS)  # of a class


class AveragePrecision(Metric):
    """AP, AP at overlaps 0.5 and 0.75, and the recall at overlap 0.5 for given false alarms.

    The figure `ap_recall_1` is the share of products that are found when there is one box without a
    product per photo on average; `ap_recall_10th`, when there is one in ten photos. They are of all
    classes together.

    Args:
        classes: C, of boxes; 1: a box is of a product, whatever its class
    """

    name = "ap"
    outputs = LOCATED

    def __init__(self, classes: int = 1) -> None:
        self._classes = classes

    @property
    def better(self) -> Mapping[str, Better]:
        """Return the figures' names; of each more is better."""
        recalls = (f"ap_recall_{ending}" for ending in MAX_FALSE_ALARMS)
        return dict.fromkeys(["ap", "ap_50", "ap_75", *recalls], "higher")

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (1 + T * 2 * BINS,): products, then boxes by overlap, found or not, and score.

        With several classes, (C, 1 + T * 2 * BINS).
        """
        return (classes, _NUMBERS) if classes > 1 else (_NUMBERS,)

    def sums(self, outputs: Sequence[Boxes], targets: Sequence[Boxes]) -> Sums:
        """Return the number of products, and the histograms of all photos.

        Args:
            outputs: of each photo the boxes that a network found
            targets: of each photo the products' boxes
        """
        sums = np.zeros((self._classes, _NUMBERS), np.int64)
        for found, true in zip(outputs, targets, strict=True):
            pairs = pairs_by_class(found, true, self._classes)
            for row, (of_class, true_of_class) in zip(sums, pairs, strict=True):
                row[0] += len(true_of_class)
                _add(row[1:].reshape(_HISTOGRAMS), of_class, true_of_class)
        return sums if self._classes > 1 else sums[0]

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the figures; nan without products."""
        products, histograms = parts_of(sums)
        precisions = _mean_of_classes(class_precisions(sums))
        found, alarms = histograms[0, 1, ::-1].cumsum(), histograms[0, 0, ::-1].cumsum()
        recalls = {
            f"ap_recall_{ending}": _recall_at(found, alarms, products, most * counts.num_examples)
            for ending, most in MAX_FALSE_ALARMS.items()
        }
        return {
            "ap": float(np.mean(precisions)),
            "ap_50": float(precisions[LEAST_OVERLAPS.index(0.5)]),
            "ap_75": float(precisions[LEAST_OVERLAPS.index(0.75)]),
            **recalls,
        }

    def is_possible(self, sums: Sums, images: int) -> bool:
        """Return whether so many photos can have so many products and boxes."""
        return bool((sums >= 0).all() and (sums <= images * _MAX_BOXES).all())


def pairs_by_class(found: Boxes, true: Boxes, classes: int) -> Iterator[tuple[Boxes, Boxes]]:
    """Yield for each class the boxes of a photo that were found, and the products of this class.

    Args:
        found: of a network
        true: of the products
        classes: C; with a single class, a product is a product whatever its class
    """
    if classes == 1:
        yield found, true
        return
    for place in range(classes):
        yield found.select(found.classes == place), true.select(true.classes == place)


def _add(counted: NDArray[np.int64], found: Boxes, true: Boxes) -> None:
    """Add the boxes of one photo and class to histograms, int64 [T, 2, BINS], in place."""
    places = (found.scores * BINS).astype(np.int64).clip(0, BINS - 1)
    matched = match_at(found, true, LEAST_OVERLAPS).astype(np.int64)
    np.add.at(counted, (np.arange(len(counted))[:, None], matched, places), 1)


def parts_of(sums: Sums) -> tuple[int, NDArray[np.int64]]:
    """Return the products and the histograms, int64 [T, 2, BINS], of all classes together.

    The second row of each histogram is of boxes that found a product.
    """
    pooled = sums.reshape(-1, _NUMBERS).sum(axis=0)
    return int(pooled[0]), pooled[1:].reshape(_HISTOGRAMS)


def class_precisions(sums: Sums) -> NDArray[np.float64]:
    """Return AP of each class at each overlap, float64 [C, T]; nan of one without products."""
    precisions = [
        [average_precision(products, row) for row in histograms]
        for products, histograms in map(parts_of, sums.reshape(-1, _NUMBERS))
    ]
    return np.array(precisions, np.float64)


def class_products(sums: Sums) -> list[int]:
    """Return the number of products of each class."""
    products: list[int] = sums.reshape(-1, _NUMBERS)[:, 0].tolist()
    return products


def _mean_of_classes(precisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the classes with products, float64 [T], of AP [C, T]; nan of none."""
    with_products = precisions[~np.isnan(precisions[:, 0])]
    means: NDArray[np.float64] = (with_products if len(with_products) else precisions[:1]).mean(0)
    return means


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
