"""Epsilon by privacy loss distributions, against closed forms and dp-accounting's two bounds."""

import csv
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.privacy.loss_distribution import Reach, composed_epsilon, gaussian_epsilon


def cdf(x: float) -> float:
    """Return the standard normal distribution function, exact in its left tail too."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _least(delta_of: Callable[[float], float], delta: float) -> float:
    """Return where a falling function is delta, by bisection from 0 to 40."""
    low, high = 0.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if delta_of(middle) <= delta else (middle, high)
    return high


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("noise", [0.3, 1.0, 4.0, 50.0])
def test_a_gaussian_mechanism_has_a_closed_form(noise: float, delta: float) -> None:
    """It is that of Balle and Wang 2018, here in terms of mu = 1 / noise."""
    mu = 1 / noise

    def told(value: float) -> float:
        right = cdf(mu / 2 - value / mu)
        return right - math.exp(value) * cdf(-mu / 2 - value / mu)

    exact = _least(told, delta)
    assert gaussian_epsilon(noise, delta) == pytest.approx(exact, rel=1e-6, abs=1e-9)
    assert epsilon([SampledGaussian(3 * noise, 1.0, 9)], delta) == pytest.approx(exact, rel=1e-6)
    reach = Reach(exact + 12 / noise, 4 * noise)
    assert exact <= composed_epsilon({(noise, 1.0): 1}, delta, reach) <= 1.001 * exact + 1e-9


@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize(
    ("noise", "rate"), [(0.3, 0.001), (0.5, 0.01), (1.0, 0.3), (1.0, 0.999), (4.0, 0.05)]
)
def test_one_step_has_a_closed_form(noise: float, rate: float, delta: float) -> None:
    """It is P(x > c) - exp(epsilon) Q(x > c) where c is the place of the loss epsilon.

    The other way round, it is Q(x < c) - exp(epsilon) P(x < c) at the loss -epsilon.
    """

    def place(loss: float) -> float:
        ratio = (math.exp(loss) - (1 - rate)) / rate
        return noise**2 * math.log(ratio) + 0.5 if ratio > 0 else -math.inf

    def used(value: float) -> float:
        without = cdf(-place(value) / noise)
        sampled = cdf((1 - place(value)) / noise)
        return rate * sampled - (math.exp(value) - (1 - rate)) * without

    def unused(value: float) -> float:
        without, sampled = cdf(place(-value) / noise), cdf((place(-value) - 1) / noise)
        return without - math.exp(value) * ((1 - rate) * without + rate * sampled)

    exact = max(_least(used, delta), _least(unused, delta))
    found = epsilon([SampledGaussian(noise, rate, 1)], delta)
    assert exact * (1 - 1e-9) <= found <= 1.003 * exact + 1e-9


def test_what_was_told_with_a_part_of_a_life_is_less_than_with_all_of_it() -> None:
    life = [
        SampledGaussian(1.1, 0.02, 400),
        SampledGaussian(20.0, 1.0, 1),
        SampledGaussian(0.8, 0.004, 900),
        SampledGaussian(3.0, 0.3, 20),
        SampledGaussian(1.1, 0.02, 1),
    ]
    told = [epsilon(life[:length], 1e-5) for length in range(len(life) + 1)]
    assert all(less < more for less, more in pairwise(told))
    assert epsilon(life[::-1], 1e-5) == pytest.approx(told[-1], rel=1e-9)


def test_no_delta_is_too_small_for_a_bound() -> None:
    """Rényi divergences bound it if roundings exceed delta: 1.3 times here."""
    told = [epsilon([SampledGaussian(1.0, 0.02, 2000)], 10.0**-power) for power in (5, 9, 12, 18)]
    assert all(1 < less < more < 2 * less for less, more in pairwise(told))


class Ledger(NamedTuple):
    """A row of `reference_ledgers.csv`."""

    mechanisms: list[SampledGaussian]
    delta: float
    least: float
    most: float

    @property
    def epsilon(self) -> float:
        return epsilon(self.mechanisms, self.delta)


def _ledgers() -> list[Ledger]:
    with (Path(__file__).parent / "reference_ledgers.csv").open(encoding="utf-8") as file:
        return [
            Ledger(
                [
                    SampledGaussian(float(noise), float(rate), int(steps))
                    for noise, rate, steps in (part.split("/") for part in row["ledger"].split())
                ],
                *(float(row[key]) for key in ("delta", "least", "most")),
            )
            for row in csv.DictReader(file)
        ]


def _check(ledgers: list[Ledger]) -> None:
    """Check that none is below the truth, and none more than a hundredth above it.

    dp-accounting's grid gives a bound from below, "least", that the truth cannot be under, and one
    from above, "most", as ours is.
    """
    assert [row for row in ledgers if row.epsilon < row.least] == []
    assert [row for row in ledgers if row.epsilon > 1.01 * row.most] == []


def test_some_ledgers_are_within_the_bounds_of_dp_accounting() -> None:
    ledgers = _ledgers()
    assert len(ledgers) == 58
    _check(ledgers[3::7])


@pytest.mark.slow
def test_all_ledgers_are_within_the_bounds_of_dp_accounting() -> None:
    _check(_ledgers())
