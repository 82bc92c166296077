"""Student's t distribution with a whole number of degrees of freedom."""

import math
from functools import lru_cache

BISECTION_STEPS = 80  # of the interval that holds a quantile: down to the last digit of a float


def cumulative(t: float, degrees: int) -> float:
    """Return P(T <= t), by the finite sums for whole degrees of freedom.

    The source is Abramowitz and Stegun, "Handbook of Mathematical Functions" (1964), 26.7.3 and
    26.7.4. With a = atan(t / sqrt(n)), P(|T| <= t) is sin a (1 + 1/2 cos^2 a + (1 3)/(2 4) cos^4 a
    + ... to cos^(n - 2) a) for n even, and 2/pi (a + sin a (cos a + 2/3 cos^3 a + (2 4)/(3 5) cos^5
    a + ... to cos^(n - 2) a)) for n odd.

    Args:
        t: the quantile
        degrees: n, degrees of freedom, at least 1
    """
    assert degrees >= 1, degrees
    angle = math.atan2(t, math.sqrt(degrees))
    sine = math.sin(angle)
    cosine = math.cos(angle)
    if degrees % 2 == 0:
        within = sine * _sum(1.0, [cosine**2 * (k - 1) / k for k in range(2, degrees, 2)])
    elif degrees == 1:
        within = angle * 2 / math.pi
    else:
        within = (
            (angle + sine * _sum(cosine, [cosine**2 * (k - 1) / k for k in range(3, degrees, 2)]))
            * 2
            / math.pi
        )
    return (1 + within) / 2


@lru_cache(maxsize=1024)
def quantile(probability: float, degrees: int) -> float:
    """Return the t with P(T <= t) = probability.

    Args:
        probability: at least 0.5, below 1
        degrees: degrees of freedom, at least 1
    """
    assert 0.5 <= probability < 1, probability
    low = 0.0
    high = 1.0
    while cumulative(high, degrees) < probability:
        low = high
        high = 2 * high
    for _ in range(BISECTION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if cumulative(middle, degrees) < probability else (low, middle)
    return high


def _sum(first: float, ratios: list[float]) -> float:
    """Return a sum of terms, each of which is the one before times a ratio."""
    total = term = first
    for ratio in ratios:
        term *= ratio
        total += term
    return total
