"""The number of events that happen, of independent ones with different probabilities."""

import numpy as np
from numpy.typing import NDArray

_TAIL = 0.025  # on each side of an interval of 95%


def distribution(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each number of events, the Poisson-binomial distribution.

    It is the product of the polynomials (1 - p) + p x (Hong, "On computing the distribution
    function for the Poisson binomial distribution", Computational Statistics & Data Analysis 59,
    2013), here multiplied pairwise by Fourier transforms.

    Args:
        probabilities: float64 [N], of each event

    Returns:
        Float64 [at least N + 1]: of 0, 1, ... events; 0 beyond N.
    """
    factors = np.stack([1 - probabilities, probabilities], axis=1)
    if not len(factors):
        return np.ones(1)
    while len(factors) > 1:
        if len(factors) % 2:  # a factor of 1
            factors = np.vstack([factors, np.eye(1, factors.shape[1])])
        length = 2 * factors.shape[1] - 1
        spectra = np.fft.rfft(factors[0::2], length) * np.fft.rfft(factors[1::2], length)
        factors = np.fft.irfft(spectra, length).clip(0, 1)
    only: NDArray[np.float64] = factors[0]
    return only


def interval(probabilities: NDArray[np.float64]) -> tuple[int, int]:
    """Return the least and the largest number of events that are likely.

    The number is below the first with at most 2.5% probability, and above the second likewise.

    Args:
        probabilities: float64 [N], of each event
    """
    at_most = np.cumsum(distribution(probabilities))
    low = int(np.searchsorted(at_most, _TAIL, side="right"))
    high = int(np.searchsorted(at_most, 1 - _TAIL))
    return min(low, len(probabilities)), min(high, len(probabilities))
