import csv
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from fedshelf.common.privacy.accountant import (
    ORDERS,
    SampledGaussian,
    divergence,
    divergences,
    epsilon,
    renyi_epsilon,
)

DELTA = 1e-5


def test_without_sampling_it_is_the_gaussian_mechanism() -> None:
    """Its divergence is order / (2 noise^2): 3 / (2 * 4) at order 3 and noise 2."""
    assert divergence(3.0, noise=2.0, rate=1.0) == 3 / 8


@pytest.mark.parametrize(("noise", "rate"), [(0.5, 0.01), (1.0, 0.3), (4.0, 0.05), (20.0, 0.7)])
@pytest.mark.parametrize("order", [2, 3, 8, 40])
def test_whole_orders_are_the_binomial_sum(order: int, noise: float, rate: float) -> None:
    """Sum of C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 sigma^2)), k from 0 to a."""
    terms = [
        math.log(math.comb(order, k))
        + (order - k) * math.log1p(-rate)
        + k * math.log(rate)
        + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    expected = float(np.logaddexp.reduce(terms)) / (order - 1)
    assert divergence(float(order), noise, rate) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_divergences_of_one_gaussian_by_hand() -> None:
    """At order a: a / (2 noise^2) + log(1 - 1 / a) - (log delta + log a) / (a - 1)."""
    a = float(ORDERS[np.abs(ORDERS - 20).argmin()])
    by_hand = a / 32 + math.log(1 - 1 / a) - (math.log(DELTA) + math.log(a)) / (a - 1)
    assert renyi_epsilon(divergences(4.0, 1.0), DELTA) == pytest.approx(by_hand, rel=0.01)


def test_steps_and_trainings_add_up() -> None:
    parts = [SampledGaussian(1.2, 0.1, 30), SampledGaussian(1.2, 0.1, 12)]
    assert epsilon(parts, DELTA) == pytest.approx(
        epsilon([SampledGaussian(1.2, 0.1, 42)], DELTA), rel=1e-12
    )


def test_nothing_is_spent_by_nothing() -> None:
    assert epsilon([], DELTA) == 0
    assert epsilon([SampledGaussian(1.0, 0.5, 0), SampledGaussian(1.0, 0.0, 9)], DELTA) == 0


def test_more_noise_less_sampling_and_fewer_steps_tell_less() -> None:
    noises = [epsilon([SampledGaussian(noise, 0.2, 50)], DELTA) for noise in (0.2, 0.5, 1, 3, 50)]
    rates = [epsilon([SampledGaussian(1.0, rate, 50)], DELTA) for rate in (1, 0.9, 0.3, 0.01)]
    steps = [epsilon([SampledGaussian(1.0, 0.2, steps)], DELTA) for steps in (900, 50, 7, 1)]
    for values in (noises, rates, steps):
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == len(values)


@pytest.mark.parametrize("noise", [0.0, 5e-324, 1e-200, 1e-9, 0.01, 1e7, 1e300])
def test_absurd_noise_is_bounded_or_infinite_but_never_wrong(noise: float) -> None:
    spent = epsilon([SampledGaussian(noise, 0.5, 10)], DELTA)
    assert spent > 1000 if noise <= 0.01 else spent < 0.01


class Reference(NamedTuple):
    """A row of `reference_epsilons.csv`; divergences of one step are those at these orders."""

    noise: float
    rate: float
    steps: float
    pld: float
    opacus: float
    divergences: dict[float, float]

    @property
    def total(self) -> NDArray[np.float64]:
        """The divergences of all steps."""
        return self.steps * divergences(self.noise, self.rate)


@pytest.fixture(scope="module")
def references() -> list[Reference]:
    with (Path(__file__).parent / "reference_epsilons.csv").open(encoding="utf-8") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 250
    by_order = {float(key.removeprefix("divergence_")): key for key in rows[0] if "_" in key}
    assert list(by_order) == [1.5, 4.0, 32.0]
    return [
        Reference(
            *[row[key] for key in Reference._fields[:-1]],
            {order: row[key] for order, key in by_order.items()},
        )
        for row in rows
    ]


def test_divergences_are_those_of_opacus(references: list[Reference]) -> None:
    for row in references:
        for order, expected in row.divergences.items():
            assert divergence(order, row.noise, row.rate) == pytest.approx(
                expected, rel=1e-6, abs=1e-12
            )


def test_epsilon_by_divergences_is_that_of_opacus(references: list[Reference]) -> None:
    """It takes the least of other orders, and none above 63. No such bound is below the truth."""
    for row in references[::12]:
        found = renyi_epsilon(row.total, DELTA)
        assert 0.95 * row.opacus < found < 1.005 * row.opacus
        assert found > row.pld


@pytest.mark.slow
def test_it_is_at_most_a_quarter_above_the_epsilon_of_dp_accounting(
    references: list[Reference],
) -> None:
    """It is at least that by its loss distributions, but for what their own grid adds."""
    ratios = [
        epsilon([SampledGaussian(row.noise, row.rate, int(row.steps))], DELTA) / row.pld
        for row in references
    ]
    assert min(ratios) > 0.999
    assert max(ratios) < 1.25
