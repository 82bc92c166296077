"""Mergeable counts of a model's energy, by which photos of nothing that it knows are told.

Liu, Wang, Owens and Li, "Energy-based Out-of-distribution Detection" (NeurIPS 2020), Equation 4 at
temperature 1, with the sign turned: the energy of an image with the scores z is log sum_c exp z_c.
It is high for images like those of the training, and low for others.

The counts are sums over images, so no energy of an image leaves the place of the evaluation.
"""

import math

import numpy as np
from numpy.typing import NDArray

ENERGY_BINS = 512
_BINS_PER_UNIT = 32  # of asinh(energy): a bin is 3% of a large energy wide, and 1/32 at 0
_LOWEST = -8.0  # of asinh(energy); with 16 units the bins reach from -1490 to 1490


def energy_histogram(energies: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count images by energy, in bins of equal width in asinh(energy).

    The first and the last bin also hold what lies outside; the first one holds NaN, too, as a model
    that gives no number knows nothing.

    Args:
        energies: float32 [N], one per image

    Returns:
        Int64 [ENERGY_BINS].
    """
    places = (np.arcsinh(energies.astype(np.float64)) - _LOWEST) * _BINS_PER_UNIT
    bins = np.nan_to_num(np.clip(places, 0, ENERGY_BINS - 1), nan=0.0).astype(np.int64)
    return np.bincount(bins, minlength=ENERGY_BINS)


def energy_quantile(counts: NDArray[np.int64], share: float) -> float:
    """Return the energy below which a share of the images lies.

    Within a bin, the images count as spread evenly.

    Args:
        counts: int64 [ENERGY_BINS], at least one image
        share: above 0 and below 1
    """
    assert 0 < share < 1, share
    below = np.cumsum(counts)
    wanted = share * int(below[-1])
    place = int(np.searchsorted(below, wanted))
    part = (wanted - int(below[place] - counts[place])) / int(counts[place])
    return math.sinh(_LOWEST + (place + part) / _BINS_PER_UNIT)


def share_below(counts: NDArray[np.int64], energy: float) -> float:
    """Return the share of the images whose energy is lower; the inverse of `energy_quantile`.

    Args:
        counts: int64 [ENERGY_BINS], at least one image
        energy: a finite number
    """
    place = min(max((math.asinh(energy) - _LOWEST) * _BINS_PER_UNIT, 0.0), float(ENERGY_BINS))
    whole = int(place)
    partly = (place - whole) * int(counts[whole]) if whole < ENERGY_BINS else 0.0
    return (int(counts[:whole].sum()) + partly) / int(counts.sum())


def is_in_range(energy: float) -> bool:
    """Return whether an energy lies in a bin that holds nothing from outside of the range."""
    return abs(math.asinh(energy)) < -_LOWEST - 1 / _BINS_PER_UNIT
