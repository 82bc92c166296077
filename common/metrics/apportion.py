"""Apportionment: counts in the proportions of larger ones that add up to a given number."""

import numpy as np
from numpy.typing import NDArray


def apportioned(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return counts [N] that add up to `total`, each within one of its share, by the largest
    remainders.

    Of equal remainders the first ones are rounded up.

    counts: int64 [N], not negative, not all 0; their sum must be at most 2**53 for exact shares
    """
    shares = counts * (total / counts.sum())
    found: NDArray[np.int64] = np.floor(shares).astype(np.int64)
    short = total - int(found.sum())
    found[np.argsort(found - shares, kind="stable")[:short]] += 1
    return found
