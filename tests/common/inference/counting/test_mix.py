"""Probabilities for another mix of classes than that of training."""

import numpy as np
import pytest

from fedshelf.common.inference.counting.mix import adapt_to_mix
from fedshelf.common.inference.counting.poisson_binomial import interval
from fedshelf.common.inference.counting.stock import take_stock


def test_what_is_certain_stays() -> None:
    certain = np.array([[1.0, 0], [1, 0], [0, 1]])
    assert adapt_to_mix(certain).tolist() == certain.tolist()


def test_the_settled_shares_are_those_of_their_own_photos() -> None:
    """The fixed point: each photo's odds are its own times those of the mix."""
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 50)
    adapted = adapt_to_mix(probabilities)
    shares = (adapted.sum(axis=0) + 1) / 53
    expected = probabilities * shares
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(adapted - expected).max() < 1e-4


def test_no_photo_is_no_mix() -> None:
    assert adapt_to_mix(np.empty((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(("share", "least"), [(0.5, 0.95), (0.9, 0.85)])
def test_counts_hold_for_photos_of_another_mix(share: float, least: float) -> None:
    """A model that is right for equal shares of two classes, on photos of other shares.

    Its score of a photo is normal around -1 or 1, so its probability is 1 / (1 + exp(-2 score)):
    16% of its answers are wrong. An interval for its own mix alone covers next to nothing at 90%.
    """
    generator = np.random.default_rng(1)
    covered = []
    covered_by_own_mix = []
    for _ in range(200):
        truth = generator.random(60) < share
        scores = np.where(truth, 1, -1) + generator.normal(size=60)
        second = 1 / (1 + np.exp(-2 * scores))
        shares = np.stack([1 - second, second], axis=1).astype(np.float32)
        stock = take_stock(shares, ["sure"] * 60, ["a", "b"])
        covered.append(stock.classes[1].low <= truth.sum() <= stock.classes[1].high)
        low, high = interval(second)
        covered_by_own_mix.append(low <= truth.sum() <= high)
    assert np.mean(covered) >= least
    if share == 0.9:
        assert np.mean(covered_by_own_mix) < 0.5
