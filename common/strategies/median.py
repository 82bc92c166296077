"""Coordinate-wise median. Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning:
Towards Optimal Statistical Rates. ICML 2018, Definition 1.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from common.orders import Update
from common.params import by_blocks, sort_rows
from common.strategies.base import Strategy, Vectors


class Median(Strategy):
    """The median of each coordinate; the mean of the two middle values of an even number of stores."""

    by_rank: ClassVar = True

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """Per coordinate, whatever the stores' sizes."""
        return by_blocks(Vectors(updates), _median)


def _median(block: Tensor) -> Tensor:
    sort_rows(block)
    middle = len(block) // 2
    return block[middle] if len(block) % 2 else (block[middle - 1] + block[middle]) / 2
