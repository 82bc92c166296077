"""A strategy that sends more than parameters, and whose stores keep state."""

from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.strategies import LocalTrainingSummary, Strategy


class Stateful(Strategy):
    """It sends more than parameters, and stores keep state."""

    uses: ClassVar = frozenset({"weighting"})

    def init_server_state(self, params: Tensor, trainable: int) -> dict[str, Tensor]:
        return {"drift": torch.zeros(trainable)}

    def extras(self, state):
        return {"drift": state["drift"]}

    def on_train_begin(self, start, extras, state):
        return {"shift": extras["drift"] - state.get("own", torch.zeros_like(start))}

    def correct_gradient(self, gradient, weights, local) -> None:
        gradient.add_(local["shift"])

    def on_train_end(self, run: LocalTrainingSummary, local, state):
        own = (run.start - run.end) / (run.steps * run.lr)
        return {"change": own - state.get("own", torch.zeros_like(own))}, {"own": own}

    def update_global_model(self, params, updates, state, trainable, present=None):
        drift = state["drift"] + torch.stack([u.extras["change"] for u in updates]).mean(dim=0)
        return self.aggregate_updates(updates), {"drift": drift}
