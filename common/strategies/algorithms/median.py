"""Coordinate-wise median.

Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning: Towards Optimal Statistical
Rates. ICML 2018, Definition 1.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from fedshelf.common.parameters.aggregation import apply_by_blocks, rank_shares, sort_rows
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.shared.base import Strategy, UpdateVectors


class Median(Strategy):
    """The median of each coordinate.

    With an even number of stores it is the mean of the two middle values.
    """

    order_statistic: ClassVar = True

    def aggregate_updates(self, updates: Sequence[Update]) -> Tensor:
        """Return the median [P] of each coordinate; the stores' sizes do not count."""
        return apply_by_blocks(UpdateVectors(updates), _median)

    def rank_shares(self, block: Tensor) -> Tensor:
        """Return 1 for the middle value of each column of [S, B], 1/2 for each of two, else 0."""
        count = len(block)
        return rank_shares(block, (count - 1) // 2, count // 2 + 1)

    def shortfall(self, updates: int) -> str | None:
        """Return a reason if there are fewer than three values, as these have no middle one."""
        return None if updates > 2 else f"median with {updates} updates is their mean, and needs 3"


def _median(block: Tensor) -> Tensor:
    """Return the median [b] of each column of `block` [n, b], which is sorted in place."""
    sort_rows(block)
    middle = len(block) // 2
    return block[middle] if len(block) % 2 else (block[middle - 1] + block[middle]) / 2
