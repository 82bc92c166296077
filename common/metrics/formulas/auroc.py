"""Area under the ROC curve of each class against the others, averaged over the classes.

Of a class c, it is the probability that an image of c has a higher probability for c than an image
of another class (Hanley and McNeil, "The meaning and use of the area under a receiver operating
characteristic (ROC) curve", Radiology 143, 1982):

    AUROC_c = P(p_c(x) > p_c(y)) + P(p_c(x) = p_c(y)) / 2,    x of class c, y of another

Both are counted by histograms of log-odds, which add up over stores. Images in one bin count as
equal, so the result is that of probabilities rounded to the bins.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.metric import Metric

BINS = 256
# of log-odds; the outer bins hold all beyond, where a probability is 1 in 10^7 or as near to 1
_RANGE = 16.0


class Auroc(Metric):
    """Mean over the classes of the area under the ROC curve, one class against the others."""

    name = "auroc"

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (2, C, BINS): images of other classes, and of the class, by log-odds of it."""
        return (2, classes, BINS)

    def sums(self, outputs: NDArray[np.float32], targets: NDArray[np.int64]) -> Sums:
        """Return the histograms; an image whose scores are not finite is in the lowest bins."""
        classes = outputs.shape[1]
        odds = np.nan_to_num(_log_odds(outputs.astype(np.float64)), nan=-_RANGE)
        shares = (np.clip(odds, -_RANGE, _RANGE) + _RANGE) / (2 * _RANGE)
        places = np.minimum((shares * BINS).astype(np.int64), BINS - 1)
        is_own = targets[:, None] == np.arange(classes)
        cells = (is_own * classes + np.arange(classes)) * BINS + places
        counted = np.bincount(cells.ravel(), minlength=2 * classes * BINS)
        return counted.reshape(2, classes, BINS)

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the mean over the classes that some images have, and others have not."""
        others, own = sums.astype(np.float64)
        pairs = own.sum(axis=1) * others.sum(axis=1)
        below = others.cumsum(axis=1) - others
        higher = (own * (below + others / 2)).sum(axis=1)
        known = pairs > 0
        area = float((higher[known] / pairs[known]).mean()) if known.any() else math.nan
        return {self.name: area}


def _log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log p_c - log(1 - p_c) of each class, [B, C], for p = softmax(scores)."""
    with np.errstate(all="ignore"):
        shifted = scores - scores.max(axis=1, keepdims=True)
        likelihoods = np.exp(shifted)
        others = likelihoods.sum(axis=1, keepdims=True) - likelihoods
        # of a class that takes all, the difference above has no digits left
        least = np.exp(-_RANGE) * likelihoods
        odds: NDArray[np.float64] = shifted - np.log(np.maximum(others, least))
        return odds
