"""Size of updates compared with the size that their stores' steps explain.

A few bad stores cannot turn the regression.

A store that takes more steps moves further from the global model: in proportion to them in the
first rounds, or if all steps go one way, and less once training has converged. The round's own
updates tell with which power of the number of steps the norms grow.
"""

import numpy as np
from numpy.typing import NDArray

# ratio of steps from which a pair of updates is used to estimate how norms grow with steps
APART = 2.0
MAX_FLOAT64 = float(np.finfo(np.float64).max)

Floats = NDArray[np.float64]


def times_usual(norms: Floats, steps: Floats, shares: Floats) -> Floats:
    """Return the factor by which each of n norms exceeds what is usual for its steps: [n].

    It is around 1.

    A norm of 0 gives 0. With x_i = log steps_i and y_i = log norm_i the power is Theil's estimate
    (Theil 1950, Sen 1968), over pairs whose steps are far enough apart. It is clipped to [0, 1],
    and is 1 if there are no such pairs:

        power = median over pairs of (y_i - y_j) / (x_i - x_j)
        r_i = y_i - power x_i,   factor_i = exp(r_i - median r)

    The mean of s B gradients is longer than that of a batch of B, by up to 1 / sqrt s times; this
    factor is excused.

    The median of an even number is the lower middle one.

    Args:
        norms: [n] >= 0
        steps: [n] >= 1
        shares: [n], the part s of a batch that the store's images fill, at most 1
    """
    factors = np.zeros(len(norms))
    moved = norms > 0
    if not moved.any():
        return factors
    x = np.log(steps[moved])
    y = np.log(np.minimum(norms[moved], MAX_FLOAT64))
    rest = y - _power(x, y) * x
    factors[moved] = np.exp(rest - np.sort(rest)[(len(rest) - 1) // 2])
    return factors * np.sqrt(shares)


def _power(x: Floats, y: Floats) -> float:
    one, other = np.triu_indices(len(x), 1)
    runs = x[one] - x[other]
    far = np.abs(runs) >= np.log(APART) - 1e-9
    if not far.any():
        return 1.0
    return float(np.clip(np.median((y[one] - y[other])[far] / runs[far]), 0, 1))
