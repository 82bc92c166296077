"""SCAFFOLD: local training with control variates.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning. ICML 2020, Algorithm 1 with option II.

    client:  y <- y - eta (g_i(y) - c_i + c)                      K steps from y = x
             c_i+ = c_i - c + (x - y) / (K eta)
    server:  x <- x + eta_g sum_i q_i (y_i - x),   c <- c + sum_i p_i (c_i+ - c_i)  (i in cohort)

With weighting uniform, q_i = 1 / |S| and p_i = 1 / N, as in the paper; by images, q_i = n_i / sum
of the cohort's and p_i = n_i / sum of all stores'. So c stays the mean of the c_i, with the weights
of the global objective, and the corrections of all stores cancel out. |S| stores are in the cohort,
N are present.

With momentum beta, K becomes sum_k (1 - beta^k) / (1 - beta), k = 1 .. K: the distance in units of
eta that K gradients of one carry a weight. So (x - y) / (K eta) stays what it is in the paper, the
mean of the gradients that moved the store. With the bare K, which is the same without momentum, c_i
would be 1 / (1 - beta) times a gradient. Momentum amplifies the next correction as it does a
gradient, so it would overshoot by as much, further in each round.

If classes that a store lacks count little (mask, weigh), each row of the head is a mean over the
stores that have its class, while c is a mean over all stores. Both end at one place: where each c_i
is its store's gradient, all stores move by the same c, and any mean of equal moves is that move. So
the head is corrected like all else. Without the correction, its rows would end where the gradients
of their own stores cancel out, at a point that the corrected layers before it do not have, and
would rise there round after round.

c_i+ - c_i = (x - y) / (K eta) - c follows from what the server has, so it does not travel; only K
eta travels.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.local_training import LocalTrainingSummary
from fedshelf.common.strategies.shared.normalized_steps import NORMALIZED_STEPS, NormalizedSteps
from fedshelf.common.strategies.shared.server_rate import ServerRateSettings
from fedshelf.common.strategies.shared.sum_layout import CHANGE, StepRange, SumMeans

# the mean of the stores' changes, each divided by its K eta: in a secure sum, float32 [T]
_MEAN_GRADIENT = "mean_gradient"


class Scaffold(NormalizedSteps):
    """Local training without the drift to a store's own optimum; eta_g is `server_lr` (0: 1)."""

    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    takes_sums: ClassVar = True
    settings: ServerRateSettings

    def incompatible_with(self, config: RunConfig) -> str | None:
        """Return why SCAFFOLD does not fit a run: it needs one learning rate for all weights.

        The change of a store divided by K eta is its mean gradient only if all weights have the
        same eta.
        """
        if config.train.backbone_lr != 1:
            return (
                "has one learning rate for all weights, and train.backbone_lr is"
                f" {config.train.backbone_lr:g}"
            )
        return super().incompatible_with(config)

    def on_train_begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """Return c - c_i [T]; a new store has c_i = 0."""
        shift = (
            extras["control"] - state["control"]
            if "control" in state
            else extras["control"].clone()
        )
        return {"shift": shift}

    def correct_gradient(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """Add c - c_i to the gradient [T], in place."""
        gradient.add_(local["shift"])

    def on_train_end(
        self, summary: LocalTrainingSummary, local: Tensors, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Return K eta for the server, and the new c_i+ = (x - y) / (K eta) - (c - c_i), [T]."""
        extras, _ = super().on_train_end(summary, local, state)
        return extras, {
            "control": (summary.start - summary.end) / summary.normalized_steps - local["shift"]
        }

    def sum_sizes(self, size: int, trainable: int) -> Mapping[str, int]:
        """Return the lengths of the change [P], and of the change divided by K eta [T]."""
        return {CHANGE: size, _MEAN_GRADIENT: trainable}

    def sum_vectors(
        self, change: Tensor, update: Update, trainable: int, steps: StepRange
    ) -> Mapping[str, Tensor]:
        """Return the change, and its trainable part divided by K eta in units of the least."""
        factor = steps.least / float(update.extras[NORMALIZED_STEPS])
        return {CHANGE: change, _MEAN_GRADIENT: change[:trainable] * factor}

    def from_means(
        self, means: SumMeans, weight: float, trainable: int, steps: StepRange
    ) -> tuple[Tensor, Tensors]:
        """Return the mean change [P], and the mean of the changes divided by K eta [T]."""
        return means.vectors[CHANGE], {_MEAN_GRADIENT: means.vectors[_MEAN_GRADIENT] / steps.least}

    def init_server_state(self, params: Tensor, trainable: int) -> Tensors:
        """Return c = 0, [T]."""
        return {"control": params.new_zeros(trainable)}

    def extras(self, state: Tensors) -> Tensors:
        """Return c, [T]."""
        return {"control": state["control"]}

    def update_global_model(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """Return x [P] and c [T] of the next round; buffers are taken from the mean."""
        total = self.total_weight(updates, present)
        control = state["control"].clone()
        start = params[:trainable]
        for update in updates:
            share = self.weight(update) / total
            control.sub_(state["control"], alpha=share)
            if _MEAN_GRADIENT in update.extras:
                control.sub_(update.extras[_MEAN_GRADIENT], alpha=share)
                continue
            control.add_(
                start - update.params[:trainable],
                alpha=share / float(update.extras[NORMALIZED_STEPS]),
            )
        mean = self.aggregate_updates(updates)
        moved = start + (self.settings.server_lr or 1.0) * (mean[:trainable] - start)
        return torch.cat([moved, mean[trainable:]]), {"control": control}
