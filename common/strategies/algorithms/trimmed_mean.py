"""Coordinate-wise trimmed mean.

Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning: Towards Optimal Statistical
Rates. ICML 2018, Definition 2.
"""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from fedshelf.common.config.field_types import StrategySettings
from fedshelf.common.parameters.aggregation import apply_by_blocks, rank_shares, sort_rows
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.shared.base import Strategy, UpdateVectors


class TrimmedMeanSettings(StrategySettings):
    """The setting of the trimmed mean."""

    trim: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.2,
        description=(
            "share of the values that is cut off at each end; a round with fewer than 1 / trim"
            " updates cuts none off and says so"
        ),
    )


class TrimmedMean(Strategy):
    """The mean of each coordinate without the floor(`trim` K) smallest and largest of K values."""

    order_statistic: ClassVar = True
    settings: TrimmedMeanSettings

    def aggregate_updates(self, updates: Sequence[Update]) -> Tensor:
        """Return the trimmed mean [P] of each coordinate; the stores' sizes do not count."""
        cut = self._cut(len(updates))

        def trimmed(block: Tensor) -> Tensor:
            sort_rows(block)
            return block[cut : len(block) - cut].mean(dim=0)

        return apply_by_blocks(UpdateVectors(updates), trimmed)

    def rank_shares(self, block: Tensor) -> Tensor:
        """Return one share for all values of a block [S, B] that are not cut off."""
        cut = self._cut(len(block))
        return rank_shares(block, cut, len(block) - cut)

    def shortfall(self, updates: int) -> str | None:
        """Return a reason if no value is cut off, although `trim` is above 0.

        With `trim` 0, nothing is promised.
        """
        if not self.settings.trim or self._cut(updates):
            return None
        trim = self.settings.trim
        return (
            f"trimmed-mean with {updates} updates cuts none off; strategy.trim={trim:g} needs"
            f" {math.ceil(1 / trim)}"
        )

    def _cut(self, updates: int) -> int:
        """Return the number of values cut off at each end."""
        return int(self.settings.trim * updates)
