"""Accountant of differential privacy: how much noisy trainings tell of one photo, at most.

The sampled Gaussian mechanism takes each photo with probability q and adds noise of sigma times
the clipping norm. Two upper bounds are computed, and the smaller one counts. The first is by Rényi
divergences, of which that of a step at the order a > 1 is

    divergence(a) = log E[(1 - q + q exp((2 z - 1) / (2 sigma^2)))^a] / (a - 1),  z ~ N(0, sigma^2)

(Mironov, Talwar and Zhang 2019, https://arxiv.org/abs/1908.10530). Divergences of steps, and of
trainings, add up. The sum is a guarantee of (epsilon, delta) with

    epsilon = min over a of divergence(a) + log(1 - 1 / a) - (log delta + log a) / (a - 1)

(Canonne, Kamath and Steinke 2020, https://arxiv.org/abs/2004.00010, proposition 12). The second is
by privacy loss distributions (`loss_distribution`): 7 to 20% smaller, by half at small rates.
The first alone is taken where the second gains nothing worth its time, or its rounding errors are
not below delta: about from 1e-10 down.

Both hold for photos drawn independently (Poisson sampling) and zero-out adjacency: the number of
photos is known; one of them is used as stated, or contributes nothing. The second is exact to a
grid that grows with the steps. So two results are comparable to about 0.1%, and each is a bound.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.privacy.loss_distribution import (
    LEAST_NOISE,
    REACH_SHARE,
    Reach,
    composed_epsilon,
    gaussian_epsilon,
)

Values = NDArray[np.float64]

# the best order is near 1 for a large epsilon, and in the thousands for a tiny one
ORDERS: Values = 1 + 2.0 ** (np.arange(-7 * 24, 12 * 24 + 1) / 24)
_TAIL = 12.0  # standard deviations beyond which a Gaussian does not count: exp(-72)
_MAX_NOISE = 1e6  # beyond it nothing is told that an integral would tell more exactly
_MOST_REFINED = 50.0  # a larger epsilon says nothing, by whatever bound
_MOST_KINDS = 64  # pairs of noise and rate: each takes milliseconds
_MAX_POINTS = 20_000  # of an integral; more are needed only where the result is of no use


@dataclass(frozen=True)
class SampledGaussian:
    """Steps of the sampled Gaussian mechanism.

    Attributes:
        noise: Standard deviation of the noise, as a multiple of the clipping norm.
        rate: Probability with which a photo takes part in a step.
        steps: Number of steps.
    """

    noise: float
    rate: float
    steps: int


def epsilon(mechanisms: Iterable[SampledGaussian], delta: float) -> float:
    """Return the epsilon of all mechanisms together; infinity if one of them has no noise.

    >>> round(epsilon([SampledGaussian(noise=1.0, rate=0.01, steps=1000)], delta=1e-5), 2)
    1.83
    """
    assert 0 < delta < 1, delta
    steps = Counter[tuple[float, float]]()
    for mechanism in mechanisms:
        if mechanism.steps and mechanism.rate:
            steps[mechanism.noise, mechanism.rate] += mechanism.steps
    total = np.zeros(len(ORDERS))
    for (noise, rate), count in steps.items():
        total += count * divergences(noise, rate)
    if not total.any():
        return 0.0
    bound = renyi_epsilon(total, delta)
    if not 0 < bound < _MOST_REFINED or min(steps)[0] < LEAST_NOISE or len(steps) > _MOST_KINDS:
        return bound
    return min(bound, _exact_epsilon(steps, total, delta))


def renyi_epsilon(total: Values, delta: float) -> float:
    """Return the epsilon by Rényi divergences alone.

    Args:
        total: of all steps together, at each of `ORDERS`
        delta: at which it holds
    """
    bounds = total + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(bounds.min()))


def _exact_epsilon(steps: Mapping[tuple[float, float], int], total: Values, delta: float) -> float:
    """Return the epsilon by privacy loss distributions.

    Args:
        steps: (noise, rate) -> number of steps
        total: Rényi divergences of all steps together
        delta: at which it holds
    """
    sampled = {kind: count for kind, count in steps.items() if kind[1] < 1}
    # Gaussian mechanisms without sampling are together one, as their losses are normal
    precision = sum(count / noise**2 for (noise, rate), count in steps.items() if rate == 1)
    if not sampled:
        return gaussian_epsilon(precision**-0.5, delta)
    if precision:
        noise = precision**-0.5
        if noise < LEAST_NOISE:
            return math.inf
        sampled[noise, 1.0] = 1
    tops = total - math.log(REACH_SHARE * delta) / (ORDERS - 1)
    best = int(tops.argmin())
    return composed_epsilon(sampled, delta, Reach(float(tops[best]), float(ORDERS[best] - 1)))


def noise_needed(largest: float, rate: float, steps: int, delta: float) -> float:
    """Return a noise with which so many steps tell no more than an epsilon.

    It is at most 1% more than is needed.

    Args:
        largest: The epsilon, above 0.
        rate: See `SampledGaussian`.
        steps: See `SampledGaussian`.
        delta: At which it holds.

    >>> noise = noise_needed(2.0, rate=0.1, steps=100, delta=1e-5)
    >>> epsilon([SampledGaussian(noise, 0.1, 100)], 1e-5) <= 2
    True
    >>> epsilon([SampledGaussian(0.99 * noise, 0.1, 100)], 1e-5) <= 2
    False
    """
    assert largest > 0, largest

    def is_enough(noise: float) -> bool:
        return epsilon([SampledGaussian(noise, rate, steps)], delta) <= largest

    high = 1.0
    while not is_enough(high):
        high *= 2
    while is_enough(high / 2):
        high /= 2
    low = high / 2
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


@lru_cache(maxsize=1024)
def divergences(noise: float, rate: float) -> Values:
    """Return the Rényi divergence of one step at each of `ORDERS`, as a read-only array."""
    values = np.array([divergence(order, noise, rate) for order in ORDERS.tolist()])
    values.setflags(write=False)
    return values


def divergence(order: float, noise: float, rate: float) -> float:
    """Return the Rényi divergence of one step at an order above 1; infinity without noise.

    The trapezoidal rule converges exponentially on a function that is analytic in a strip about
    the real line: here to below 1e-15, as the nearest zero of the power's base is at pi noise^2
    above it.
    """
    assert order > 1, order
    assert noise >= 0, noise
    assert 0 < rate <= 1, rate
    variance = noise * noise
    if not variance:
        return math.inf
    without_sampling = order / (2 * variance)
    if rate == 1 or noise > _MAX_NOISE:
        return without_sampling
    spacing = min(noise / 2, 0.4 * variance)
    first = -_TAIL * noise
    points = math.ceil((order - first + _TAIL * noise) / spacing)
    if points > _MAX_POINTS:
        return without_sampling  # drawing photos at random can only tell less
    z = first + spacing * np.arange(points)
    ratio = np.logaddexp(math.log1p(-rate), math.log(rate) + (2 * z - 1) / (2 * variance))
    exponent = order * ratio - z**2 / (2 * variance)
    peak = exponent.max()
    log_mean = (
        peak
        + math.log(np.exp(exponent - peak).sum() * spacing)
        - math.log(2 * math.pi * variance) / 2
    )
    return max(0.0, min(without_sampling, float(log_mean) / (order - 1)))
