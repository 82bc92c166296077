"""Energies by hand, and shares against those of the energies themselves."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw
from hypothesis.extra import numpy as arrays

from fedshelf.common.metrics.energy import (
    ENERGY_BINS,
    energy_histogram,
    energy_quantile,
    share_below,
)

ZERO = ENERGY_BINS // 2  # the bin that begins at an energy of 0
WIDTH = 1 / 32


def bins_of(*energies: float) -> list[int]:
    """The bin of each energy."""
    return [int(energy_histogram(np.array([energy], np.float32)).argmax()) for energy in energies]


def test_bins_are_as_wide_as_said() -> None:
    assert bins_of(0.0, math.sinh(0.9 * WIDTH), math.sinh(1.1 * WIDTH), -0.001) == [
        ZERO,
        ZERO,
        ZERO + 1,
        ZERO - 1,
    ]
    # asinh(10) = 2.998 = 95.9 bins
    assert bins_of(10.0, -10.0) == [ZERO + 95, ZERO - 96]


def test_what_lies_outside_counts_at_the_ends_and_no_number_is_known_least() -> None:
    last = ENERGY_BINS - 1
    assert bins_of(1480.0, 1500.0, 3e38, math.inf) == [last] * 4
    assert bins_of(-1480.0, -1500.0, -math.inf, math.nan) == [0] * 4
    assert energy_histogram(np.zeros(0, np.float32)).tolist() == [0] * ENERGY_BINS


def test_a_quantile_lies_within_its_bin_by_share() -> None:
    counts = np.zeros(ENERGY_BINS, np.int64)
    counts[[ZERO, ZERO + 10]] = 4, 12
    # the first four images are spread evenly over asinh(energy) 0 to 1/32
    for share, place in (
        (1 / 16, 0.25),
        (0.25, 1.0),
        (0.25 + 6 / 16, 10.5),
        (15 / 16, 10 + 11 / 12),
    ):
        assert math.asinh(energy_quantile(counts, share)) == pytest.approx(place * WIDTH)
        assert share_below(counts, math.sinh(place * WIDTH)) == pytest.approx(share)
    assert share_below(counts, math.sinh(5 * WIDTH)) == 0.25  # between the two bins
    assert [share_below(counts, energy) for energy in (-1e9, -1.0, 9.0, 1e9)] == [0, 0, 1, 1]


energies = arrays.arrays(
    np.float32, draw.integers(1, 60), elements=draw.floats(-1000, 1000, width=32)
)


@given(energies, draw.floats(0.01, 0.99))
def test_quantiles_are_those_of_the_energies_but_for_the_width_of_a_bin(
    values: np.ndarray, share: float
) -> None:
    counts = energy_histogram(values)
    found = energy_quantile(counts, share)
    expected = np.quantile(values, share, method="inverted_cdf")
    assert abs(math.asinh(found) - math.asinh(expected)) <= WIDTH + 1e-6
    assert share_below(counts, found) == pytest.approx(share, abs=1e-6)


@given(energies, energies)
def test_counts_of_two_stores_add_up(one: np.ndarray, other: np.ndarray) -> None:
    together = energy_histogram(np.concatenate([one, other]))
    np.testing.assert_array_equal(energy_histogram(one) + energy_histogram(other), together)
    assert together.sum() == len(one) + len(other)
    assert together.dtype == np.int64
