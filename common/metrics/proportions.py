"""Proportions of counted images: counts scaled down in proportion, and the interval of a share."""

import math

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959964  # the standard normal's quantile of 97.5%


def apportion(counts: NDArray[np.int64] | NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Return counts in the same proportions that add up to `total`, by the largest remainders.

    Each is within one of its exact share. Of equal remainders the first ones are rounded up.

    Args:
        counts: [N], not negative, not all 0; their sum must be at most 2**53 for exact shares
        total: sum of the counts that are returned

    Returns:
        Int64 [N].
    """
    shares = counts * (total / counts.sum())
    apportioned: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    short = total - int(apportioned.sum())
    apportioned[np.argsort(apportioned - shares, kind="stable")[:short]] += 1
    return apportioned


def wilson_interval(share: float, images: int) -> tuple[float, float]:
    """Return the 95% confidence interval of a share of counted images.

    With n images, z = 1.96 and the share p: (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) /
    (1 + z^2 / n) (Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22, 1927). Unlike the plain p +- z sqrt(p (1 - p) / n) it holds for few images and for
    shares near 0 and 1, too.

    Args:
        share: from 0 to 1
        images: number of images counted, at least 1

    Returns:
        Both ends of the interval, within 0..1.
    """
    assert images > 0, images
    z2 = Z_95**2 / images
    middle = share + z2 / 2
    half = Z_95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))
