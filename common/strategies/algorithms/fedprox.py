"""FedProx. Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous
Networks. MLSys 2020, Equation 2.

    client:  min_w  F_k(w) + (mu / 2) ||w - w_t||^2,   gradient  dF_k(w) + mu (w - w_t)
    server:  as FedAvg
"""

from typing import ClassVar

from torch import Tensor

from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.strategies.shared.base import Strategy


class FedProx(Strategy):
    """FedAvg with a pull towards the global model during local training."""

    uses: ClassVar = frozenset({"weighting", "absent_classes", "mu"})

    def begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """Remember the global model w_t."""
        return {"anchor": start.clone()}

    def correct(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """g <- g + mu (w - w_t)."""
        gradient.add_(weights, alpha=self.config.mu).sub_(local["anchor"], alpha=self.config.mu)
