"""Krum: the one update that lies closest to its neighbours.

Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent. NeurIPS 2017, Section 4.

    score(i) = sum of ||w_i - w_j||^2 over the n - f - 2 nearest j != i;   the lowest score wins

It withstands f malicious stores if n > 2 f + 2 (Proposition 1): with fewer, f equal updates can
have the lowest score.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fedshelf.common.config.field_types import StrategySettings
from fedshelf.common.parameters.aggregation import VectorSequence, blocks
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.shared.base import Strategy, UpdateVectors


class KrumSettings(StrategySettings):
    """The setting of Krum."""

    malicious: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "number f of stores that are assumed to be malicious. A round needs 2 f + 3"
            " updates to withstand them; with fewer it says so, and a simulation that can"
            " never have so many is refused"
        ),
    )


class Krum(Strategy):
    """The one update that lies closest to its neighbours; f is `malicious`."""

    settings: KrumSettings

    def aggregate_updates(self, updates: Sequence[Update]) -> Tensor:
        """Return a copy of the best update's vector [P]: engines reuse the memory of updates."""
        return updates[self.ranking(updates)[0]].params.clone()

    def weights(self, updates: Sequence[Update]) -> list[float]:
        """Return 1 for the best update, and 0 for all others."""
        best = self.ranking(updates)[0]
        return [float(index == best) for index in range(len(updates))]

    def shortfall(self, updates: int) -> str | None:
        """Return a reason if there are fewer than 2 f + 3 updates."""
        malicious = self.settings.malicious
        if updates > 2 * malicious + 2:
            return None
        name = self.config.name
        least = 2 * malicious + 3
        if not malicious:
            return f"{name} with {updates} updates needs {least} to tell one that lies apart"
        return (
            f"{name} with {updates} updates needs {least} to withstand"
            f" strategy.malicious={malicious}"
        )

    def ranking(self, updates: Sequence[Update]) -> list[int]:
        """Return the positions of the updates, best score first; ties go to the first store."""
        distances = squared_distances(UpdateVectors(updates))
        neighbours = min(max(1, len(updates) - self.settings.malicious - 2), len(updates) - 1)
        # column 0 is the distance to itself, zero
        nearest = distances.sort(dim=1).values[:, 1 : 1 + neighbours]
        return nearest.sum(dim=1).argsort(stable=True).tolist()


def squared_distances(vectors: VectorSequence) -> Tensor:
    """Return ||v_i - v_j||^2 of all pairs of n vectors.

    It is computed from products of the differences to the first vector: otherwise the part that all
    vectors have in common would drown their distances in rounding errors.

    Args:
        vectors: n vectors float32 [P]

    Returns:
        Float64 [n, n], with zeros on the diagonal.
    """
    products = torch.zeros(
        len(vectors), len(vectors), dtype=torch.float64, device=vectors[0].device
    )
    for pieces in blocks(vectors):
        block = torch.stack(pieces).double()
        block -= block[0].clone()
        products.addmm_(block, block.T)
    squares = products.diagonal()
    distances = (squares[:, None] + squares - 2 * products).clamp(min=0)
    return distances.fill_diagonal_(0)
