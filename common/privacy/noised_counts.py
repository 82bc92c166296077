"""Counts of photos with Gaussian noise, as whole numbers that readers of counts can use.

A photo is in one cell of a table of counts, so without it the table changes by at most 1 in the L2
norm: the noise of standard deviation `noise` is that of `SampledGaussian(noise, rate=1, steps=1)`.
The noise is rounded to whole numbers before it is added. A count is a whole number, so this is the
same as rounding the noisy count: no digits are left that could tell what the noise hides (Mironov
2012, "On significance of the least significant bits for differential privacy").
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.proportions import apportion
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon

_MAX_NOISE = 1e6  # images
_BISECTIONS = 50

Counts = NDArray[np.int64]


def with_noise(counts: Counts, noise: float, normals: NDArray[np.float64]) -> Counts:
    """Return counts with noise; some may be negative.

    Args:
        counts: int64 [N]
        noise: standard deviation, images
        normals: float64 [N], drawn from the standard normal distribution
    """
    return counts + np.rint(noise * normals).astype(np.int64)


def nearest_counts(noisy: Counts, total: int) -> Counts:
    """Return the counts nearest to noisy ones among those that none is negative and all add up.

    They are the Euclidean projection onto the simplex (Duchi et al. 2008, "Efficient projections
    onto the l1-ball", Figure 1), rounded by the largest remainders. Noise in many empty cells thus
    falls below a threshold in place of adding up.

    Args:
        noisy: int64 [N], at least one
        total: sum of the counts that are returned, 0 or more

    Returns:
        Int64 [N].

    >>> nearest_counts(np.array([58, 31, 8, -9]), 88).tolist()
    [55, 28, 5, 0]
    """
    if not total:
        return np.zeros_like(noisy)
    largest_first = np.sort(noisy)[::-1].astype(np.float64)
    thresholds = (np.cumsum(largest_first) - total) / np.arange(1, len(noisy) + 1)
    threshold = thresholds[np.flatnonzero(largest_first > thresholds)[-1]]
    return apportion(np.maximum(noisy - threshold, 0), total)


@lru_cache(maxsize=64)
def noise_for(largest_epsilon: float, delta: float, answers: int) -> float:
    """Return the least noise with which so many tables of counts stay within an epsilon.

    Args:
        largest_epsilon: of all tables together, above 0
        delta: at which it holds
        answers: number of tables

    Returns:
        Standard deviation, images.
    """
    assert largest_epsilon > 0, largest_epsilon
    low, high = 0.0, _MAX_NOISE
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if epsilon([SampledGaussian(middle, 1.0, answers)], delta) <= largest_epsilon:
            high = middle
        else:
            low = middle
    return high
