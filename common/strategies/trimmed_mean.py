"""Coordinate-wise trimmed mean. Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed
Learning: Towards Optimal Statistical Rates. ICML 2018, Definition 2.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from common.orders import Update
from common.params import by_blocks, sort_rows
from common.strategies.base import Strategy, Vectors


class TrimmedMean(Strategy):
    """The mean of each coordinate without the floor(`trim` K) smallest and largest of K values."""

    uses: ClassVar = frozenset({"trim"})
    by_rank: ClassVar = True

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """Per coordinate, whatever the stores' sizes."""
        cut = int(self.config.trim * len(updates))

        def trimmed(block: Tensor) -> Tensor:
            sort_rows(block)
            return block[cut : len(block) - cut].mean(dim=0)

        return by_blocks(Vectors(updates), trimmed)
