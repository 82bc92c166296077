"""Gaussian noise on a grid, compiled: that of `common.privacy.noise`, in a third of the time."""

import ctypes
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from fedshelf.common.native.compiler import load_library, tensor_address
from fedshelf.common.privacy import noise
from fedshelf.common.privacy.randomness import KeyStream

SOURCE = Path(__file__).with_name("gaussian.c")


def add_noise(total: Tensor, deviation: float, stream: KeyStream) -> Tensor:
    """Return a sum with Gaussian noise in each coordinate; see `common.privacy.noise.add_noise`.

    The numbers may differ from those by a step of the grid, where rounding is a tie.

    Args:
        total: float32 [T]
        deviation: standard deviation of the noise, above 0
        stream: source of the noise
    """
    kernels = _kernels()
    if kernels is None:
        return noise.add_noise(total, deviation, stream)
    pairs = (len(total) + 1) // 2
    words = stream.words(2 * pairs)
    plain = total.cpu().contiguous()
    noisy = torch.empty_like(plain)
    kernels.add_noise(
        ctypes.c_void_p(words.ctypes.data),
        ctypes.c_long(pairs),
        ctypes.c_long(len(total)),
        tensor_address(plain),
        ctypes.c_double(deviation),
        ctypes.c_double(noise.grid_of(deviation)),
        tensor_address(noisy),
    )
    return noisy.to(total.device)


@lru_cache(maxsize=1)
def _kernels() -> ctypes.CDLL | None:
    return load_library(SOURCE, {})
