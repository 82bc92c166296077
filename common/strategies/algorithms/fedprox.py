"""FedProx: FedAvg with a proximal term in the local loss.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous Networks. MLSys
2020, Equation 2.

    client:  min_w  F_k(w) + (mu / 2) ||w - w_t||^2,   gradient  dF_k(w) + mu (w - w_t)
    server: as FedAvg
"""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from fedshelf.common.config.field_types import NonNegative, StrategySettings
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.strategies.shared.base import Strategy


class FedProxSettings(StrategySettings):
    """The setting of FedProx."""

    mu: NonNegative = Field(0.01, description="strength of the pull towards the global model")


class FedProx(Strategy):
    """FedAvg with a pull towards the global model during local training."""

    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    settings: FedProxSettings

    def on_train_begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """Return a copy of the global model's weights w_t, [T]."""
        return {"anchor": start.clone()}

    def correct_gradient(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """Add mu (w - w_t) to the gradient [T], in place."""
        gradient.add_(weights, alpha=self.settings.mu).sub_(local["anchor"], alpha=self.settings.mu)
