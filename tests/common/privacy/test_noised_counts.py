"""Counts with noise: still counts, and no more told than the noise allows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.privacy.noised_counts import nearest_counts, noise_for, with_noise

cells = st.lists(st.integers(-1000, 1000), min_size=1, max_size=20)


@given(cells, st.integers(0, 5000))
def test_the_nearest_counts_are_counts_and_add_up(noisy: list[int], total: int) -> None:
    counts = nearest_counts(np.array(noisy), total)
    assert counts.dtype == np.int64
    assert (counts >= 0).all()
    assert counts.sum() == total


@given(cells.filter(lambda noisy: min(noisy) >= 0))
def test_counts_without_noise_stay_as_they_are(counts: list[int]) -> None:
    assert nearest_counts(np.array(counts), sum(counts)).tolist() == counts


@given(cells, st.integers(0, 100), st.integers(0, 2**32))
def test_no_other_counts_are_nearer_by_more_than_the_rounding(
    noisy: list[int], total: int, seed: int
) -> None:
    found = nearest_counts(np.array(noisy), total)
    other = np.random.default_rng(seed).multinomial(total, np.full(len(noisy), 1 / len(noisy)))
    distance, others = (np.linalg.norm(np.array(noisy) - each) for each in (found, other))
    assert distance <= others + np.sqrt(len(noisy))


def test_one_threshold_is_taken_from_all_that_stay_above_zero() -> None:
    assert nearest_counts(np.array([100, 8, 5, -2]), 104).tolist() == [97, 5, 2, 0]
    assert nearest_counts(np.array([-5, -5]), 3).tolist() == [2, 1]


def test_noise_is_whole_and_of_the_deviation_asked_for() -> None:
    normals = np.random.default_rng(1).standard_normal(10_000)
    noisy = with_noise(np.full(10_000, 7), 12.0, normals)
    assert noisy.dtype == np.int64
    assert noisy.mean() == pytest.approx(7, abs=0.5)
    assert noisy.std() == pytest.approx(12, rel=0.03)


def test_all_tables_together_stay_within_the_epsilon_and_use_it_up() -> None:
    noise = noise_for(3.0, 1e-5, 100)
    assert epsilon([SampledGaussian(noise, 1.0, 100)], 1e-5) == pytest.approx(3.0, abs=1e-6)
    assert noise_for(1.0, 1e-5, 100) > noise
    # of one answer less than sqrt(2 log(1.25 / delta)) / epsilon (Dwork and Roth 2014, theorem A.1)
    assert 7.0 < noise_for(0.5, 1e-5, 1) < math.sqrt(2 * math.log(1.25e5)) / 0.5
