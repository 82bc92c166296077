"""FedAvgM: FedAvg with momentum at the server.

Hsu, Qi, Brown: Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification. 2019, Section 4.3.

    d = w_t - mean_k w_t^k;   v <- beta v + d  (v = d in the first round);   w_{t+1} = w_t - eta v
"""

from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.strategies.shared.base import Strategy


class FedAvgM(Strategy):
    """FedAvg with momentum at the server; eta is `server_lr` (0: 1), beta `server_momentum`."""

    uses: ClassVar = frozenset({"weighting", "absent_classes", "server_lr", "server_momentum"})

    def init_server_state(self, params: Tensor, trainable: int) -> Tensors:
        """Return a velocity of zero, [T]."""
        return {"velocity": params.new_zeros(trainable)}

    def server_step(
        self, params: Tensor, combined: Tensor, state: Tensors, trainable: int
    ) -> tuple[Tensor, Tensors]:
        """Take one momentum step of the trainable part; buffers are taken from the mean."""
        velocity = state["velocity"] * self.config.server_momentum + (
            params[:trainable] - combined[:trainable]
        )
        moved = params[:trainable] - (self.config.server_lr or 1.0) * velocity
        return torch.cat([moved, combined[trainable:]]), {"velocity": self.centred(velocity)}
