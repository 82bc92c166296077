"""The noise: its distribution, and the grid on which it lies."""

import math

import numpy as np
import pytest
import torch

from fedshelf.common.privacy.noise import GRID_SHARE, add_noise, gaussian
from fedshelf.common.privacy.randomness import KeyStream


def stream(number: int = 0) -> KeyStream:
    return KeyStream(bytes([number] * 32), "noise")


def test_noise_is_gaussian() -> None:
    """Kolmogorov's statistic: 1.95 is exceeded by 1 in 1,000 keys, and this is one key."""
    draws = np.sort(gaussian(stream(), 20_001).numpy())
    shares = np.array([0.5 * math.erfc(-draw / math.sqrt(2)) for draw in draws])
    ranks = np.arange(20_002) / 20_001
    distance = max(np.abs(shares - ranks[1:]).max(), np.abs(shares - ranks[:-1]).max())
    assert distance * math.sqrt(20_001) < 1.95


def test_coordinates_are_independent() -> None:
    """Of the four products of two halves and two keys, none has a mean far from 0."""
    first, second = (gaussian(stream(number), 20_000) for number in (1, 2))
    pairs = [(first[:10_000], first[10_000:]), (first, second), (first[1:], first[:-1])]
    for one, other in pairs:
        assert abs(float((one * other).mean())) * math.sqrt(len(one)) < 4


@pytest.mark.parametrize("deviation", [1e-3, 1.0, 5.5])
def test_noise_has_its_deviation(deviation: float) -> None:
    total = torch.full((20_000,), 3.0)
    noise = (add_noise(total, deviation, stream()) - total) / deviation
    assert float(noise.std()) == pytest.approx(1, rel=0.03)
    assert abs(float(noise.mean())) < 0.03


def test_sum_and_noise_are_multiples_of_one_step() -> None:
    """So whatever the sum is, the same values are possible, and the last bits tell nothing."""
    exact = torch.rand(1000) * 10
    step = 2.0 ** math.floor(math.log2(2.0 * GRID_SHARE))
    # float64: of a float32 that is the sum, only larger multiples are left
    noisy = add_noise(exact.double(), 2.0, stream())
    assert torch.equal((noisy / step).round() * step, noisy)
    plain = add_noise(torch.zeros(1000, dtype=torch.float64), 2.0, stream())
    assert torch.equal(noisy - plain, (exact.double() / step).round() * step)


def test_one_stream_draws_other_noise_each_time_and_a_key_the_same_again() -> None:
    again = stream()
    first, second = (add_noise(torch.zeros(99), 1.0, again) for _ in range(2))
    assert torch.equal(first, add_noise(torch.zeros(99), 1.0, stream()))
    assert not torch.isclose(first, second).any()
