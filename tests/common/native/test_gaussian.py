"""Compiled noise against that of PyTorch's operations."""

import pytest
import torch

from fedshelf.common.native import gaussian
from fedshelf.common.privacy import noise
from fedshelf.common.privacy.randomness import KeyStream


def stream() -> KeyStream:
    return KeyStream(bytes(32), "noise")


@pytest.mark.parametrize("deviation", [1e-3, 1.0, 3e5])
@pytest.mark.parametrize("count", [1, 2, 1001, 50_000])
def test_noise_is_the_same_to_a_step_of_the_grid(deviation: float, count: int) -> None:
    total = torch.randn(count, generator=torch.Generator().manual_seed(1))
    compiled = gaussian.add_noise(total, deviation, stream())
    plain = noise.add_noise(total, deviation, stream())
    # at 8 deviations a float32 itself has steps of 8 grid steps
    assert float((compiled - plain).abs().max()) <= 8 * noise.grid_of(deviation)
    assert float((compiled != plain).float().mean()) < 0.001


def test_it_draws_as_much_from_a_stream() -> None:
    compiled, plain = stream(), stream()
    gaussian.add_noise(torch.zeros(7), 1.0, compiled)
    noise.add_noise(torch.zeros(7), 1.0, plain)
    assert compiled.words(1) == plain.words(1)
