"""FedAvgM: FedAvg with momentum at the server.

Hsu, Qi, Brown: Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification. 2019, Section 4.3.

    d = w_t - mean_k w_t^k;   v <- beta v + d  (v = d in the first round);   w_{t+1} = w_t - eta v
"""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.strategies.shared.base import Strategy
from fedshelf.common.strategies.shared.server_rate import ServerRateSettings


class FedAvgMSettings(ServerRateSettings):
    """The settings of FedAvgM."""

    server_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="momentum of the server"
    )


class FedAvgM(Strategy):
    """FedAvg with momentum at the server; eta is `server_lr` (0: 1), beta `server_momentum`."""

    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    settings: FedAvgMSettings

    def init_server_state(self, params: Tensor, trainable: int) -> Tensors:
        """Return a velocity of zero, [T]."""
        return {"velocity": params.new_zeros(trainable)}

    def server_step(
        self, params: Tensor, combined: Tensor, state: Tensors, trainable: int
    ) -> tuple[Tensor, Tensors]:
        """Take one momentum step of the trainable part [T] of [P]; buffers are the mean's."""
        velocity = state["velocity"] * self.settings.server_momentum + (
            params[:trainable] - combined[:trainable]
        )
        moved = params[:trainable] - (self.settings.server_lr or 1.0) * velocity
        return torch.cat([moved, combined[trainable:]]), {"velocity": self.centred(velocity)}
