"""Multi-Krum: the mean of the updates with the best Krum scores.

Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent. NeurIPS 2017, Section 4 (see `krum` for the score).
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.algorithms.krum import Krum, KrumSettings


class MultiKrumSettings(KrumSettings):
    """The settings of Multi-Krum."""

    keep: Annotated[int, Field(ge=0)] = Field(
        0,
        description="number of updates that are averaged; 0: all but strategy.malicious of them",
    )


class MultiKrum(Krum):
    """The mean of the `keep` best-scored updates (0: all but `malicious`), weighted as FedAvg."""

    uses: ClassVar = frozenset({"weighting"})
    settings: MultiKrumSettings

    def aggregate_updates(self, updates: Sequence[Update]) -> Tensor:
        """Return the mean [P] of the chosen updates, added in store order."""
        return self.mean(updates, self._best_updates(updates))

    def weights(self, updates: Sequence[Update]) -> list[float]:
        """Return the weight of each update: 0 for those that are not chosen."""
        best = set(self._best_updates(updates))
        return [
            self.weight(update) if index in best else 0.0 for index, update in enumerate(updates)
        ]

    def shortfall(self, updates: int) -> str | None:
        """Return Krum's reason, or that more than n - f updates are kept.

        Then one of them at least may be malicious.
        """
        keep = self.settings.keep
        malicious = self.settings.malicious
        if malicious and keep > updates - malicious:
            return (
                f"multi-krum with {updates} updates averages {keep} of them, where"
                f" strategy.malicious={malicious}"
            )
        return super().shortfall(updates)

    def _best_updates(self, updates: Sequence[Update]) -> list[int]:
        """Return the indices of the updates to average, in store order."""
        keep = self.settings.keep or max(1, len(updates) - self.settings.malicious)
        return sorted(self.ranking(updates)[:keep])
