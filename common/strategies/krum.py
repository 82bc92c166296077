"""Krum. Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent. NeurIPS 2017, Section 4.

    score(i) = sum of ||w_i - w_j||^2 over the n - f - 2 nearest j != i;   the lowest score wins
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from common.orders import Update
from common.strategies.base import Strategy


class Krum(Strategy):
    """The one update that lies closest to its neighbours; f is `malicious`."""

    uses: ClassVar = frozenset({"malicious"})

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """The best update's vector [P]."""
        return updates[self.ranking(updates)[0]].params

    def ranking(self, updates: Sequence[Update]) -> list[int]:
        """Positions of the updates, best score first; ties go to the first store."""
        vectors = [u.params.double() for u in updates]
        scores = []
        neighbours = max(1, len(updates) - self.config.malicious - 2)
        for i, vector in enumerate(vectors):
            others = [(vector - other).square().sum() for j, other in enumerate(vectors) if j != i]
            scores.append(torch.stack(others).sort().values[:neighbours].sum() if others else vector.new_zeros(()))
        return torch.stack(scores).argsort(stable=True).tolist()
