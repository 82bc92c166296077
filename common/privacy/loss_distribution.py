"""Epsilon by privacy loss distributions: nearly exact, and never below the truth.

A step of the sampled Gaussian mechanism is between two distributions at most: P = (1 - q) N(0,
sigma^2) + q N(1, sigma^2) with the photo, Q = N(0, sigma^2) without it (Zhu, Dong and Wang 2022,
https://arxiv.org/abs/2106.08567, which also has that steps compose as independent ones). Its
privacy loss is L = log(P(x) / Q(x)) with x drawn from P. Losses of steps add up to S, and

    delta(epsilon) = E[max(0, 1 - exp(epsilon - S))]

The same with P and Q in each other's places bounds what the photo's absence tells. Sums are taken
on a grid of losses, by powers of Fourier transforms (Koskela, Jälkö and Honkela 2020,
https://arxiv.org/abs/1906.03049). Each error is made on the safe side, or added to delta:

    grid            The mass between two grid points goes to both, so that its P and its Q stay
                    ("connect the dots", Doroshenko et al. 2022, https://arxiv.org/abs/2207.04380).
                    That spreads exp(-L) about its mean, and delta is convex in it. A loss's
                    variance grows by a fourth of the squared spacing at most.
    cut tails       Losses above the grid are infinite, those below it rise to its first point.
    wrapped sums    Sums below the transform's window reappear above their place, which is safe;
                    the chance of those beyond its end (Chernoff bound) is added to delta.
    rounding        A bound of all rounding errors of the transforms is added to delta. In the
                    masses, each error is exceeded by mass that is moved towards higher losses.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Direction = Literal["used", "unused"]
"""Of the two runs that nobody can tell apart, the one that is seen: with the photo or without."""

LEAST_NOISE = 0.1  # below it, rounding errors of the edges were not looked at
_POINTS = 2**16  # of the window; a life of a million steps still adds less than 2% to epsilon
_TAIL_SHARE = 1e-4  # of delta, for all tails that are cut
REACH_SHARE = 1e-4  # of delta, for sums beyond the reach
_ROUNDING = 2.0**-53
_TRANSFORM_ROUNDING = 4 * _ROUNDING * math.log2(_POINTS)  # of each output, for inputs that sum to 1
_CDF_ROUNDING = 8 * _ROUNDING
_LOSS_ROUNDING = 1e-12  # of a step's loss, from the edges of its cells


@dataclass(frozen=True)
class Reach:
    """A value that the sum of all losses seldom exceeds, as Rényi divergences tell.

    Attributes:
        top: The value.
        exponent: The t > 0 of the Chernoff bound E[exp(t S)] exp(-t top) that is least.
    """

    top: float
    exponent: float


@dataclass(frozen=True)
class _Losses:
    """Losses of one step on the grid.

    Attributes:
        first: Number of the first grid point.
        masses: Of each grid point from there on.
        infinite: Mass of infinite losses.
    """

    first: int
    masses: Values
    infinite: float


def composed_epsilon(steps: Mapping[tuple[float, float], int], delta: float, reach: Reach) -> float:
    """Return the epsilon of all steps together; infinity if rounding errors exceed delta.

    Args:
        steps: (noise, rate) -> number of steps, 1 or more. Each noise is at least `LEAST_NOISE`,
            each rate above 0.
        delta: At which it holds.
        reach: Of the sum of losses.
    """
    spacing = 2.0 ** math.ceil(math.log2(2 * reach.top / _POINTS))  # exact multiples
    directions: tuple[Direction, ...] = ("used", "unused")
    found = [_one_way(steps, delta, reach, spacing, direction) for direction in directions]
    return max(found) + _LOSS_ROUNDING * sum(steps.values())


def gaussian_epsilon(noise: float, delta: float) -> float:
    """Return the epsilon of one Gaussian mechanism without sampling.

    It is the least one with Phi(1 / (2 s) - epsilon s) - exp(epsilon) Phi(-1 / (2 s) - epsilon s)
    at most delta, s being the noise (Balle and Wang 2018, https://arxiv.org/abs/1805.06530,
    Theorem 8).
    """

    def is_enough(value: float) -> bool:
        right = _normal_cdf(0.5 / noise - value * noise)
        return right - math.exp(value) * _normal_cdf(-0.5 / noise - value * noise) <= delta

    if is_enough(0.0):
        return 0.0
    # S is normal with mean 1 / (2 s^2): beyond it by so much, its tail alone is below delta
    low, high = 0.0, 0.5 / noise**2 + math.sqrt(-2 * math.log(delta)) / noise
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _one_way(
    steps: Mapping[tuple[float, float], int],
    delta: float,
    reach: Reach,
    spacing: float,
    direction: Direction,
) -> float:
    """Return the epsilon of what one of the two runs shows."""
    total = sum(steps.values())
    deviations = math.sqrt(2 * math.log(total / (_TAIL_SHARE * delta)))
    transforms = []
    infinite = total * _CDF_ROUNDING
    log_moment = 0.0
    for (noise, rate), count in steps.items():
        losses = _step_losses(noise, rate, spacing, deviations, direction)
        infinite += count * losses.infinite
        points = losses.first + np.arange(len(losses.masses))
        exponents = reach.exponent * spacing * points
        peak = float(exponents.max())
        log_moment += count * (peak + math.log(float(losses.masses @ np.exp(exponents - peak))))
        folded = np.bincount(points % _POINTS, losses.masses, minlength=_POINTS)
        transforms.append((np.fft.rfft(folded), count))
    last = math.ceil(reach.top / spacing)
    beyond = math.exp(min(0.0, log_moment - reach.exponent * spacing * last))
    sums, error = _product(transforms)
    points = last - np.arange(_POINTS)  # from the window's end downwards
    masses = np.maximum(sums[points % _POINTS], 0.0)
    sums_there = points.astype(np.float64) * spacing
    return _inverse(masses, sums_there, delta - infinite - beyond, error)


def _step_losses(
    noise: float, rate: float, spacing: float, deviations: float, direction: Direction
) -> _Losses:
    """Return the losses of a step.

    Args:
        noise: See `SampledGaussian`.
        rate: See `SampledGaussian`.
        spacing: Of the grid.
        deviations: Standard deviations beyond which a Gaussian's tail is cut.
        direction: Which run is seen.
    """
    variance = noise * noise

    def loss(x: float) -> float:
        exponent = (x - 0.5) / variance
        return (
            float(np.logaddexp(math.log1p(-rate), math.log(rate) + exponent))
            if rate < 1
            else (exponent)
        )

    first = math.floor(loss(-deviations * noise) / spacing)
    last = math.ceil(loss(1 + deviations * noise) / spacing)
    grid = spacing * np.arange(first, last + 1)
    # N(1) / N(0) at the edges of the cells; below 1 - q there is no x
    least = math.log1p(-rate) if rate < 1 else -math.inf
    ratios = np.expm1(grid - least) * (1 - rate) / rate if rate < 1 else np.exp(grid)
    with np.errstate(divide="ignore"):
        edges = 0.5 + variance * np.log(np.maximum(ratios, 0.0))
    mass0, tail0 = _cells(edges / noise)
    mass1, tail1 = _cells((edges - 1) / noise)
    used = (1 - rate) * mass0 + rate * mass1
    # sum of R - R(lower edge), R = P / Q, over a cell: what the upper edge gets is in proportion
    lift = rate * (mass1 - ratios[:-1] * mass0)
    margin = _CDF_ROUNDING * rate * (tail1 + np.abs(ratios[:-1]) * tail0)
    below0, below1 = _normal_cdf(edges[0] / noise), _normal_cdf((edges[0] - 1) / noise)
    above0, above1 = _normal_cdf(-edges[-1] / noise), _normal_cdf((1 - edges[-1]) / noise)
    if direction == "used":
        upper = np.clip((lift + margin) / -math.expm1(-spacing), 0.0, used)
        masses = np.append(used - upper, 0.0)
        masses[1:] += upper
        masses[0] += (1 - rate) * below0 + rate * below1
        return _Losses(first, masses, (1 - rate) * above0 + rate * above1)
    upper = np.clip((lift - margin) / (np.exp(grid[:-1]) * math.expm1(spacing)), 0.0, mass0)
    masses = np.append(mass0 - upper, 0.0)
    masses[1:] += upper
    masses[-1] += above0
    return _Losses(-last, masses[::-1], below0)  # the loss is log(Q / P)


def _cells(edges: Values) -> tuple[Values, Values]:
    """Return the standard normal mass between each two edges, and what its rounding is part of.

    The latter is the larger of the tails beyond both edges.
    """
    tails = np.array([_normal_cdf(-abs(edge)) for edge in edges.tolist()])
    is_left = edges < 0
    signed = np.where(is_left, tails, -tails)  # the distribution function, less 1 on the right
    masses = signed[1:] - signed[:-1] + (is_left[:-1] & ~is_left[1:])
    return np.maximum(masses, 0.0), np.maximum(tails[1:], tails[:-1])


def _product(transforms: list[tuple[NDArray[np.complex128], int]]) -> tuple[Values, float]:
    """Return the distribution of the sum of independent losses, and a bound of each mass's error.

    Args:
        transforms: of distributions, with the number of losses of each
    """
    product = np.ones_like(transforms[0][0])
    sizes = np.ones(len(product))
    for transform, count in transforms:
        product *= _power(transform, count)
        sizes *= (np.abs(transform) + _TRANSFORM_ROUNDING) ** count
    errors = _TRANSFORM_ROUNDING * sizes
    for transform, count in transforms:
        # |a^n - b^n| is at most n |a - b| max(|a|, |b|)^(n - 1)
        errors += count * _TRANSFORM_ROUNDING * sizes / (np.abs(transform) + _TRANSFORM_ROUNDING)
    # an inverse transform is a mean over all frequencies; the real one holds half of them
    return np.fft.irfft(product, _POINTS), float(2 * errors.sum() / _POINTS)


def _power(values: NDArray[np.complex128], exponent: int) -> NDArray[np.complex128]:
    """Return a power by repeated squaring, with roundings that are the same on all machines."""
    result = np.ones_like(values)
    while exponent:
        if exponent & 1:
            result = result * values
        values = values * values
        exponent >>= 1
    return result


def _inverse(masses: Values, losses: Values, delta: float, error: float) -> float:
    """Return the least epsilon of 0 or more whose delta is small enough; infinity if none is.

    Between two losses delta(epsilon) is a - exp(epsilon) b, with the sums a of the masses and b of
    the masses times exp(-loss) of all higher losses.

    Args:
        masses: Of the losses.
        losses: Falling.
        delta: That is wanted.
        error: Of each mass.
    """
    higher = np.cumsum(masses)
    allowed = delta - error * np.arange(1, len(masses) + 1)
    weighted = np.cumsum(masses * np.exp(losses[0] - losses))  # times exp(losses[0])
    # delta at each loss itself, which the loss's own mass does not reach
    at = higher - np.exp(losses - losses[0]) * weighted
    fits = (at <= allowed) & (losses >= 0)
    if not fits[0]:
        return math.inf
    place = int(np.argmin(fits)) if not fits.all() else len(fits)
    last = place - 1  # the lowest loss that is enough
    if place == len(fits) or losses[last] == 0:
        return float(losses[last])
    over = higher[last] - allowed[last]
    if over <= 0 or weighted[last] <= 0:
        return float(losses[last])
    exact = float(np.log(over / weighted[last]) + losses[0])
    return min(max(exact, float(losses[place]), 0.0), float(losses[last]))


def _normal_cdf(x: float) -> float:
    """Return the standard normal distribution function, with a small relative error on the left."""
    return 0.5 * math.erfc(-x / math.sqrt(2))
