"""The numbers of differential privacy of a store, which a reader can work out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.privacy.store_level import (
    clip_factor,
    default_delta,
    next_clip,
    signal_to_noise,
    split_noise,
)


@given(draw.floats(0, 1e6), draw.floats(1e-6, 1e6))
def test_a_clipped_change_is_no_longer_than_the_clip_and_a_short_one_stays(
    norm: float, clip: float
) -> None:
    assert norm * clip_factor(norm, clip) == pytest.approx(min(norm, clip))
    assert clip_factor(norm, clip) == 1 or norm > clip


@given(draw.floats(0.1, 50), draw.floats(1, 1e5))
def test_both_sums_together_cost_what_one_sum_of_the_whole_noise_costs(
    noise: float, expected: float
) -> None:
    """The change is of norm 1 in units of S, the count moves by 1/2: divided by their noises, both
    together are a vector of norm 1 / z.
    """
    split = split_noise(noise, expected, adaptive=True)
    assert split.count is not None
    moved = math.hypot(1 / split.changes, 0.5 / split.count)
    assert moved == pytest.approx(1 / noise)
    assert split.count >= expected / 20
    assert split_noise(noise, expected, adaptive=False).changes == noise


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("first", [0.1, 4000.0])
def test_the_clip_ends_at_the_quantile_of_known_norms(quantile: float, first: float) -> None:
    norms = range(1, 101)
    clip = first
    for _ in range(300):
        clip = next_clip(clip, sum(norm <= clip for norm in norms) / 100, quantile)
    assert clip == pytest.approx(100 * quantile, abs=1)


def test_a_step_of_the_clip_is_that_of_the_paper() -> None:
    # too many small changes, by 0.3 of all: a smaller clip, by exp(-0.2 * 0.3)
    assert next_clip(2.0, 0.8, 0.5) == pytest.approx(2 * math.exp(-0.06))
    assert next_clip(2.0, 0.5, 0.5) == 2.0


def test_signal_to_noise_of_chains_of_all_sizes() -> None:
    found = [signal_to_noise(n, 1.0, 62_006) for n in (30, 300, 1000)]
    assert [round(ratio, 1) for ratio in found] == [0.1, 1.2, 4.0]


def test_delta_is_below_one_store_in_all() -> None:
    assert default_delta(2000) == 2000**-1.1
    assert default_delta(3) == 1e-3
    assert all(default_delta(stores) < 1 / stores for stores in (2, 10, 1000, 10**6))
