"""The Poisson-binomial distribution against numbers by hand, and its intervals' coverage."""

import math

import numpy as np
import pytest

from fedshelf.common.inference.counting.poisson_binomial import distribution, interval


def test_two_events_by_hand() -> None:
    found = distribution(np.array([0.5, 0.2]))[:3]
    assert found.tolist() == pytest.approx([0.4, 0.5, 0.1])


def test_equal_probabilities_are_the_binomial_distribution() -> None:
    found = distribution(np.full(11, 0.3))
    binomial = [math.comb(11, k) * 0.3**k * 0.7 ** (11 - k) for k in range(12)]
    assert found[:12].tolist() == pytest.approx(binomial)
    assert found[12:].tolist() == pytest.approx([0.0] * (len(found) - 12), abs=1e-12)


@pytest.mark.parametrize("events", [1, 2, 3, 100, 1023])
def test_the_moments_are_those_of_a_sum(events: int) -> None:
    shares = np.random.default_rng(events).random(events)
    found = distribution(shares)
    numbers = np.arange(len(found))
    mean = float((found * numbers).sum())
    assert float(found.sum()) == pytest.approx(1)
    assert mean == pytest.approx(float(shares.sum()))
    variance = float((found * (numbers - mean) ** 2).sum())
    assert variance == pytest.approx(float((shares * (1 - shares)).sum()))


def test_what_is_certain_has_no_width() -> None:
    assert interval(np.array([1.0, 1.0, 0.0])) == (2, 2)
    assert interval(np.array([])) == (0, 0)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Labels drawn by the probabilities: 95% of the intervals and few more hold the number."""
    generator = np.random.default_rng(0)
    covered = []
    widths = []
    for _ in range(300):
        probabilities = generator.dirichlet(np.full(5, 0.3), 80)
        truth = (generator.random((80, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
        for index in range(5):
            low, high = interval(probabilities[:, index])
            covered.append(low <= int((truth == index).sum()) <= high)
            widths.append(high - low)
    assert 0.95 <= np.mean(covered) <= 0.985
    assert np.mean(widths) < 12
