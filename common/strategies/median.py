"""Coordinate-wise median. Yin, Chen, Ramchandran, Bartlett: Byzantine-Robust Distributed Learning:
Towards Optimal Statistical Rates. ICML 2018, Definition 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from common.orders import Update
from common.strategies.base import Strategy


class Median(Strategy):
    """The median of each coordinate; the mean of the two middle values of an even number of stores."""

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """Per coordinate, whatever the stores' sizes."""
        ordered = torch.stack([u.params for u in updates]).sort(dim=0).values
        middle = len(updates) // 2
        return ordered[middle] if len(updates) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
