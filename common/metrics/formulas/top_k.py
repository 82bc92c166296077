"""Top-k accuracy: the share of the images whose class is among the k best scores.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge" (IJCV 115, 2015), Section
4.1, whose top-5 error is one minus this.
"""

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.metric import Metric, share


class TopKAccuracy(Metric):
    """Top-k accuracy.

    An image counts if fewer than k classes have a score of at least that of its own class, so that
    a model with equal scores for all of many classes gets none. With k classes or fewer it is 1.

    >>> TopKAccuracy(2).sums(np.array([[3.0, 2.0, 1.0], [2.0, 2.0, 2.0]]), np.array([1, 1]))
    array([1])
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.name = f"top{k}"

    def shape(self, classes: int) -> tuple[int, ...]:
        """Return (1,): the images whose class is among the best."""
        return (1,)

    def sums(self, outputs: NDArray[np.float32], targets: NDArray[np.int64]) -> Sums:
        """Return the number of images whose class is among the k best scores."""
        own = np.take_along_axis(outputs, targets[:, None], axis=1)
        # of a score that is nan, no comparison holds
        beside = outputs.shape[1] - (outputs < own).sum(axis=1) - 1
        return np.array([(beside < self.k).sum()], np.int64)

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the share of these images among all."""
        return {self.name: share(sums[0], counts.num_examples)}
