"""Multi-Krum. Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries: Byzantine
Tolerant Gradient Descent. NeurIPS 2017, Section 4 (see `krum` for the score).
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from common.orders import Update
from common.strategies.krum import Krum


class MultiKrum(Krum):
    """The mean of the `keep` best-scored updates (0: all but `malicious`), weighted as in FedAvg."""

    uses: ClassVar = frozenset({"weighting", "malicious", "keep"})

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """Mean over the chosen updates, added in store order."""
        keep = self.config.keep or max(1, len(updates) - self.config.malicious)
        chosen = sorted(self.ranking(updates)[:keep])
        return self.mean(updates, chosen)
