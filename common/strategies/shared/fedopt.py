"""The shared half of the adaptive server optimizers.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan: Adaptive Federated Optimization.
ICLR 2021, Algorithm 2.

    d = mean_k w_t^k - w_t;   m <- beta1 m + (1 - beta1) d;   v <- (each its own);
    w_{t+1} = w_t + eta m / (sqrt(v) + tau)

As in Flower, m and v start at zero. If the head's rows are centred (`Strategy.centred`), m is
centred after each round, too.
"""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fedshelf.common.config.field_types import Positive, StrategySettings
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.strategies.shared.base import Strategy
from fedshelf.common.strategies.shared.server_rate import ServerRateSettings


class FedOptSettings(ServerRateSettings):
    """The settings that all adaptive server optimizers have."""

    tau: Positive = Field(
        1e-3, description="degree of adaptivity (added to the root of the second moment)"
    )


class MomentSettings(StrategySettings):
    """The decays of the two moments."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="decay of the first moment")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99, description="decay of the second moment"
    )


class DecayingMomentsSettings(FedOptSettings, MomentSettings):
    """The settings of optimizers whose moments decay."""


class FedOpt(Strategy, ABC):
    """An adaptive step of the trainable part; buffers are taken from the mean.

    eta is `server_lr` (0: 0.1).
    """

    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    settings: FedOptSettings

    def init_server_state(self, params: Tensor, trainable: int) -> Tensors:
        """Return both moments at zero, [T] each, and no steps taken."""
        zeros = params.new_zeros(trainable)
        return {
            "first": zeros,
            "second": zeros.clone(),
            "steps": torch.zeros((), dtype=torch.int64),
        }

    def server_step(
        self, params: Tensor, combined: Tensor, state: Tensors, trainable: int
    ) -> tuple[Tensor, Tensors]:
        """Step the trainable part [T] of [P] along the first moment, scaled by the second."""
        delta = combined[:trainable] - params[:trainable]
        steps = state["steps"] + 1
        first = self.first(state["first"], delta)
        second = self.second(state["second"], delta)
        moved = params[:trainable] + self.rate(int(steps)) * first / (
            second.sqrt() + self.settings.tau
        )
        return torch.cat([moved, combined[trainable:]]), {
            "first": self.centred(first),
            "second": second,
            "steps": steps,
        }

    @abstractmethod
    def first(self, moment: Tensor, delta: Tensor) -> Tensor:
        """Return the new first moment [T], by the algorithm's own rule."""

    @abstractmethod
    def second(self, moment: Tensor, delta: Tensor) -> Tensor:
        """Return the new second moment [T], by the algorithm's own rule."""

    def rate(self, steps: int) -> float:
        """Return the server's learning rate at its `steps`-th step (from 1)."""
        return self.settings.server_lr or 0.1


class DecayingMoments(FedOpt):
    """An adaptive step whose first moment decays."""

    settings: DecayingMomentsSettings

    def first(self, moment: Tensor, delta: Tensor) -> Tensor:
        """Return the new first moment [T]: beta1 m + (1 - beta1) d."""
        return self.settings.beta1 * moment + (1 - self.settings.beta1) * delta
