"""Coordinate-wise trimmed mean. Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed
Learning: Towards Optimal Statistical Rates. ICML 2018, Definition 2.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from common.orders import Update
from common.strategies.base import Strategy


class TrimmedMean(Strategy):
    """The mean of each coordinate without the floor(`trim` K) smallest and largest of K values."""

    uses: ClassVar = frozenset({"trim"})

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """Per coordinate, whatever the stores' sizes."""
        cut = int(self.config.trim * len(updates))
        ordered = torch.stack([u.params for u in updates]).sort(dim=0).values
        return ordered[cut : len(updates) - cut].mean(dim=0)
