"""Krum. Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent. NeurIPS 2017, Section 4.

    score(i) = sum of ||w_i - w_j||^2 over the n - f - 2 nearest j != i;   the lowest score wins

It withstands f malicious stores if n > 2 f + 2 (Proposition 1): with fewer, f equal updates can have the lowest score.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.parameters.aggregation import VectorSequence, blocks
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.shared.base import Strategy, Vectors


class Krum(Strategy):
    """The one update that lies closest to its neighbours; f is `malicious`."""

    uses: ClassVar = frozenset({"malicious"})

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """A copy of the best update's vector [P]: an engine uses its memory again."""
        return updates[self.ranking(updates)[0]].params.clone()

    def weights(self, updates: Sequence[Update]) -> list[float]:
        """1 for the best update, and 0 for all others."""
        best = self.ranking(updates)[0]
        return [float(place == best) for place in range(len(updates))]

    def shortfall(self, updates: int) -> str | None:
        """2 f + 3 updates are the least."""
        malicious = self.config.malicious
        if updates > 2 * malicious + 2:
            return None
        name, least = self.config.name, 2 * malicious + 3
        if not malicious:
            return f"{name} with {updates} updates needs {least} to tell one that lies apart"
        return f"{name} with {updates} updates needs {least} to withstand strategy.malicious={malicious}"

    def ranking(self, updates: Sequence[Update]) -> list[int]:
        """Positions of the updates, best score first; ties go to the first store."""
        distances = squared_distances(Vectors(updates))
        neighbours = min(max(1, len(updates) - self.config.malicious - 2), len(updates) - 1)
        nearest = distances.sort(dim=1).values[:, 1 : 1 + neighbours]  # the first is its own, zero
        return nearest.sum(dim=1).argsort(stable=True).tolist()


def squared_distances(vectors: VectorSequence) -> Tensor:
    """||v_i - v_j||^2 of all pairs of n vectors (float32 [P]): float64 [n, n].

    From products of what the vectors differ by from the first: without that, what they share would drown it.
    """
    products = torch.zeros(len(vectors), len(vectors), dtype=torch.float64, device=vectors[0].device)
    for pieces in blocks(vectors):
        block = torch.stack(pieces).double()
        block -= block[0].clone()
        products.addmm_(block, block.T)
    squares = products.diagonal()
    distances = (squares[:, None] + squares - 2 * products).clamp(min=0)
    return distances.fill_diagonal_(0)
