"""FedNova: averaging of normalised local changes.

Wang, Liu, Liang, Joshi, Poor: Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization. NeurIPS 2020, Equations 5 to 8 with tau_eff = sum_i p_i |a_i|.

    y_i = x - eta sum_k a_ik g_ik:    d_i = (x - y_i) / (eta |a_i|)             |a_i| = sum_k a_ik
    server:  x <- x - (sum_j p_j eta |a_j|) sum_i p_i d_i                 p_i: the weights of FedAvg

|a_i| is the number K of steps for plain SGD, and sum_k (1 - beta^k) / (1 - beta), k = 1 .. K, with
momentum beta. A store that takes more steps (more images, more time) moves the model by its mean
gradient, weighted by its images; the number of its steps adds no further weight. If all stores do
the same work, this is FedAvg.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.base import UpdateVectors
from fedshelf.common.strategies.shared.normalized_steps import NORMALIZED_STEPS, NormalizedSteps
from fedshelf.common.strategies.shared.sum_layout import CHANGE, StepRange, SumMeans


class FedNova(NormalizedSteps):
    """The mean of the models that the stores would have if each had done the same work."""

    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    takes_sums: ClassVar = True
    sum_numbers: ClassVar = ("steps",)

    def sum_vectors(
        self, change: Tensor, update: Update, trainable: int, steps: StepRange
    ) -> Mapping[str, Tensor]:
        """Return the change [P], in its trainable part divided by |a_i| in units of the least."""
        scaled = change.clone()
        scaled[:trainable].mul_(steps.least / float(update.extras[NORMALIZED_STEPS]))
        return {CHANGE: scaled}

    def sum_values(self, update: Update, steps: StepRange) -> Mapping[str, float]:
        """Return |a_i| in units of the most."""
        return {"steps": float(update.extras[NORMALIZED_STEPS]) / steps.most}

    def from_means(
        self, means: SumMeans, weight: float, trainable: int, steps: StepRange
    ) -> tuple[Tensor, Tensors]:
        """Return the step of all stores together, and the mean of their |a_i|."""
        effective_steps = means.numbers["steps"] / weight * steps.most
        change = means.vectors[CHANGE]
        change[:trainable].mul_(effective_steps / steps.least)
        return change, {NORMALIZED_STEPS: torch.tensor([effective_steps])}

    def update_global_model(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """Return x [P] of the next round, and the state; buffers are taken from the mean."""
        all_steps = [float(update.extras[NORMALIZED_STEPS]) for update in updates]
        weighted_steps = [
            self.weight(update) * steps for update, steps in zip(updates, all_steps, strict=True)
        ]
        effective_steps = sum(weighted_steps) / self.total_weight(updates)
        rescaled = _Scaled(
            updates, params[:trainable], [effective_steps / steps for steps in all_steps]
        )
        return self.mean(updates, range(len(updates)), rescaled), state


class _Scaled(UpdateVectors):
    """The vectors float32 [P] with x + factor_i (y_i - x) in the trainable part."""

    def __init__(self, updates: Sequence[Update], start: Tensor, factors: Sequence[float]) -> None:
        super().__init__(updates)
        self._start = start
        self._factors = factors

    def __getitem__(self, index: int) -> Tensor:
        vector = super().__getitem__(index).clone()
        trained = vector[: len(self._start)]
        trained.sub_(self._start).mul_(self._factors[index]).add_(self._start)
        return vector
