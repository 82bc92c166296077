"""FedDyn: dynamic regularization of each store's loss.

Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama: Federated Learning Based on Dynamic
Regularization. ICLR 2021, Algorithm 1.

    client:  min_w  F_i(w) - <l_i, w> + (alpha / 2) ||w - x||^2
             gradient  dF_i(w) - l_i + alpha (w - x)
             l_i <- l_i - alpha (y_i - x)
    server:  h <- h - alpha sum_i p_i (y_i - x),   x <- sum_i q_i y_i - h / alpha

y_i: a store's weights after training; the sums go over the cohort.

With weighting uniform, q_i = 1 / |S| and p_i = 1 / N, as in the paper; by images, q_i = n_i / sum
of the cohort's and p_i = n_i / sum of all stores', so that h stays sum_i p_i l_i, which is zero
where the global objective has its optimum.

FedDyn needs less than SCAFFOLD: its equations count no steps, so they hold for any local optimizer,
and only weights travel, in both directions. But l_i is the gradient of a store's loss at y_i only
if the store trains long enough to end near its minimum. With few steps l_i lags behind, and
h / alpha is the sum of all changes so far: the model moves as if it had a momentum near 1. With
momentum at the stores as well it overshoots until nothing is left of it (docs/results.md).
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.config.field_types import Positive, StrategySettings
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.base import Strategy
from fedshelf.common.strategies.shared.local_training import LocalTrainingSummary
from fedshelf.common.strategies.shared.sum_layout import CHANGE, StepRange, SumMeans

# in a secure sum, the mean of the changes of the head's rows by the weights of the stores, [H]; the
# change has them by the weights of the classes
_HEAD = "head"


# lr / (1 - momentum) of SGD at the stores, up to which no measured run has fallen apart
MAX_STEADY_STEP = 0.1


class FedDynSettings(StrategySettings):
    """The setting of FedDyn."""

    alpha: Positive = Field(0.01, description="strength of the pull towards the global model")


class FedDyn(Strategy):
    """A strategy that changes each store's loss until all have their minimum at one place."""

    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    takes_sums: ClassVar = True
    settings: FedDynSettings

    def remark_on(self, config: RunConfig) -> str | None:
        """Return a sentence if steps are so large that the model may fall apart; else None."""
        train = config.train
        most = round(MAX_STEADY_STEP * (1 - train.momentum), 9)
        if train.optimizer != "sgd" or train.lr <= most:
            return None
        return (
            f"FedDyn with train.lr={train.lr:g} and train.momentum={train.momentum:g} may overshoot"
            " from round to round until the model names one class alone, as the server adds up all"
            f" changes so far; take train.momentum=0, or a learning rate of at most {most:g}."
        )

    def on_train_begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """Return -l_i - alpha x [T]; a new store has l_i = 0."""
        offset = start * -self.settings.alpha
        return {"offset": offset - state["linear"] if "linear" in state else offset}

    def correct_gradient(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """Add alpha w + (-l_i - alpha x) to the gradient [T], in place."""
        gradient.add_(weights, alpha=self.settings.alpha).add_(local["offset"])

    def on_train_end(
        self, summary: LocalTrainingSummary, local: Tensors, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Return the new state l_i - alpha (y_i - x) = -(-l_i - alpha x) - alpha y_i, [T]."""
        return {}, {"linear": torch.add(-local["offset"], summary.end, alpha=-self.settings.alpha)}

    def init_server_state(self, params: Tensor, trainable: int) -> Tensors:
        """Return h = 0, [T]."""
        return {"linear": params.new_zeros(trainable)}

    def sum_sizes(self, size: int, trainable: int) -> Mapping[str, int]:
        """Return the lengths of the change [P], and of the head's rows if they have own weights."""
        rows = self._own_rows()
        return {CHANGE: size} | (
            {_HEAD: sum(part.stop - part.start for part in rows)} if rows else {}
        )

    def sum_vectors(
        self, change: Tensor, update: Update, trainable: int, steps: StepRange
    ) -> Mapping[str, Tensor]:
        """Return the change [P], and the head's rows [H] once more if they have own weights."""
        rows = self._own_rows()
        head = {_HEAD: torch.cat([change[part] for part in rows])} if rows else {}
        return {CHANGE: change} | head

    def from_means(
        self, means: SumMeans, weight: float, trainable: int, steps: StepRange
    ) -> tuple[Tensor, Tensors]:
        """Return the mean change [P], and that of the head's rows by the stores' weights [H]."""
        return means.vectors[CHANGE], {
            name: vector for name, vector in means.vectors.items() if name == _HEAD
        }

    def update_global_model(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """Return x [P] and h [T] of the next round; buffers are taken from the mean."""
        total = self.total_weight(updates, present)
        start = params[:trainable]
        linear = state["linear"].clone()
        for update in updates:
            share = self.weight(update) / total
            linear.sub_(self._change(update, start), alpha=self.settings.alpha * share)
        mean = self.aggregate_updates(updates)
        mean[:trainable].sub_(linear, alpha=1 / self.settings.alpha)
        return mean, {"linear": linear}

    def _change(self, update: Update, start: Tensor) -> Tensor:
        """Return y_i - x [T], or the mean of it by the weights of the stores in a secure sum."""
        change = update.params[: len(start)] - start
        if _HEAD in update.extras:
            rows = self._own_rows()
            sizes = [part.stop - part.start for part in rows]
            for part, mean in zip(rows, update.extras[_HEAD].split(sizes), strict=True):
                change[part] = mean
        return change

    def _own_rows(self) -> tuple[slice, ...]:
        """Return the places of the head's rows if they are averaged by weights of their own."""
        if self.layout is None or self.config.absent == "full":
            return ()
        return self.layout.head_slices()
