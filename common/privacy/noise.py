"""Gaussian noise on a grid, for sums whose last bits must not tell what the noise hides.

Numbers that a program can draw from a Gaussian are not all numbers. So the set of values that x +
noise can take depends on x, and a value that is possible for one x alone gives x away (Mironov
2012, "On significance of the least significant bits for differential privacy"). Here sum and noise
are whole multiples of one power of two, far below the noise, and their sum is exact: for each x
the same values are possible. Rounding the noise is rounding the noisy sum, which tells no more
(Google's differential privacy team 2020, "Secure noise generation").

Rounding lifts the part of an image in the sum by at most sqrt(T) grid steps, with T coordinates:
for 11 million weights by 2e-4 of the noise's deviation.
"""

import math

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.privacy.randomness import KeyStream

GRID_SHARE = 2.0**-24  # step of the grid, at most, as a share of the noise's standard deviation
_BITS = 52


def add_noise(total: Tensor, deviation: float, stream: KeyStream) -> Tensor:
    """Return a sum with Gaussian noise in each coordinate.

    Args:
        total: float32 [T]
        deviation: standard deviation of the noise, above 0
        stream: source of the noise
    """
    grid = grid_of(deviation)
    steps = gaussian(stream, len(total)).mul_(deviation / grid).round_()
    steps += total.cpu().double().div_(grid).round_()
    return steps.mul_(grid).to(total.dtype).to(total.device)


def grid_of(deviation: float) -> float:
    """Return the step of the grid for noise of a standard deviation: a power of two."""
    return 2.0 ** math.floor(math.log2(deviation * GRID_SHARE))


def gaussian(stream: KeyStream, count: int) -> Tensor:
    """Return numbers of a standard normal distribution: float64 [count] on the CPU.

    By Box and Muller (1958): sqrt(-2 log u) cos(2 pi v) and sqrt(-2 log u) sin(2 pi v), for u in
    (0, 1] and v in [0, 1) of 52 bits each. None is beyond 8.5, as one of 5e16 is in truth.
    """
    pairs = (count + 1) // 2
    bits = (stream.words(2 * pairs) >> np.uint64(64 - _BITS)).astype(np.int64)
    uniform = torch.from_numpy(bits).double().mul_(2.0**-_BITS)
    radius = (1 - uniform[:pairs]).log_().mul_(-2).sqrt_()
    angle = uniform[pairs:] * (2 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]
