"""Error of the number of products that a locator counts on a photo, at each of many thresholds.

A photo's count is the number of its boxes whose score is at least a threshold. Over N photos with
P products, with e_i the count minus the true number of photo i:

    error = sum |e_i| / N,    bias = sum e_i / N,    error share = sum |e_i| / P

If boxes have classes, each class is counted so, too; the figures are of the count of all products.

The sums of each threshold add up over stores; so the best threshold of all validation photos is
known without any photo (`best_threshold`), and it is the one for use.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.average_precision import LOCATED, pairs_by_class
from fedshelf.common.metrics.formulas.metric import Better, Metric, share
from fedshelf.common.scenes.boxes import Boxes

THRESHOLDS = tuple(value / 100 for value in range(6, 100, 2))
USUAL_THRESHOLD = 0.3  # for the figures of a round: no photos have chosen one yet
_MAX_BOXES = 1000  # of a photo
_ONE = (3, len(THRESHOLDS))


class CountError(Metric):
    """Mean absolute error of the count of a photo, and as a share, at the threshold 0.3.

    Args:
        classes: C, of boxes; 1: a box is of a product, whatever its class
    """

    name = "count"
    outputs = LOCATED

    def __init__(self, classes: int = 1) -> None:
        self._classes = classes

    @property
    def better(self) -> Mapping[str, Better]:
        """Return the figures' names; of an error less is better."""
        return {"count_error": "lower", "count_share": "lower"}

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (3, K): sums of |e_i| and e_i at K thresholds, and the products K times.

        With several classes, (1 + C, 3, K): of all together, then of each class.
        """
        return (1 + classes, *_ONE) if classes > 1 else _ONE

    def sums(self, outputs: Sequence[Boxes], targets: Sequence[Boxes]) -> Sums:
        """Return the sums; arguments as for `AveragePrecision.sums`."""
        together = _sums(outputs, targets)
        if self._classes == 1:
            return together
        pairs = [
            list(pairs_by_class(found, true, self._classes))
            for found, true in zip(outputs, targets, strict=True)
        ]
        each = [
            _sums(
                [of_photo[place][0] for of_photo in pairs],
                [of_photo[place][1] for of_photo in pairs],
            )
            for place in range(self._classes)
        ]
        return np.stack([together, *each])

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the figures at the usual threshold."""
        figures = errors_at(sums, counts.num_examples, USUAL_THRESHOLD)
        return {name: figures[name] for name in self.better}

    def is_possible(self, sums: Sums, images: int) -> bool:
        """Return whether so many photos can have these errors."""
        absolute, signed, products = np.moveaxis(sums, -2, 0)
        return bool(
            (absolute >= np.abs(signed)).all()
            and (absolute <= images * _MAX_BOXES).all()
            and (products >= 0).all()
            and (products == products[..., :1]).all()
            and (products <= images * _MAX_BOXES).all()
        )


def _sums(outputs: Sequence[Boxes], targets: Sequence[Boxes]) -> Sums:
    """Return the sums of one class, int64 [3, K]."""
    thresholds = np.array(THRESHOLDS, np.float32)
    counted = [(found.scores[:, None] >= thresholds).sum(0) for found in outputs]
    true = np.array([len(boxes) for boxes in targets], np.int64)
    errors = np.array(counted, np.int64).reshape(-1, len(THRESHOLDS)) - true[:, None]
    products = np.full(len(THRESHOLDS), true.sum())
    return np.stack([np.abs(errors).sum(0), errors.sum(0), products])


def errors_at(sums: Sums, photos: int, threshold: float) -> dict[str, float]:
    """Return the figures at one of `THRESHOLDS`.

    Args:
        sums: of `CountError`; those of several classes count together
        photos: N
        threshold: the score from which a box counts
    """
    absolute, signed, products = _together(sums)[:, THRESHOLDS.index(threshold)].tolist()
    return {
        "count_error": share(absolute, photos),
        "count_share": share(absolute, products),
        "count_bias": share(signed, photos),
    }


def best_threshold(sums: Sums) -> float:
    """Return the threshold with the least error; of equal ones the one in their middle.

    Args:
        sums: of `CountError`, of validation photos; several classes count together
    """
    errors = _together(sums)[0]
    best = np.flatnonzero(errors == errors.min())
    return THRESHOLDS[int(best[math.floor(len(best) / 2)])]


def class_sums(sums: Sums) -> list[Sums]:
    """Return the sums of each class, int64 [3, K] each; of a single class those of all."""
    rows = sums.reshape(-1, *_ONE)
    return list(rows[1:] if len(rows) > 1 else rows)


def _together(sums: Sums) -> Sums:
    """Return the sums of all classes together, int64 [3, K]."""
    together: Sums = sums.reshape(-1, *_ONE)[0]
    return together
