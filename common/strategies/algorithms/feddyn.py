"""FedDyn. Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama: Federated Learning Based on Dynamic
Regularization. ICLR 2021, Algorithm 1.

    client:  min_w  F_i(w) - <l_i, w> + (alpha / 2) ||w - x||^2,   gradient  dF_i(w) - l_i + alpha (w - x)
             l_i <- l_i - alpha (y_i - x)                                  y_i: where the store's training ended
    server:  h <- h - alpha sum_i p_i (y_i - x),   x <- sum_i q_i y_i - h / alpha          i in the cohort

With weighting uniform, q_i = 1 / |S| and p_i = 1 / N, as in the paper; by images, q_i = n_i / sum of the cohort's and
p_i = n_i / sum of all stores', so that h stays sum_i p_i l_i, which is zero where the global objective has its optimum.

Beside SCAFFOLD for what it needs not: its equations count no steps, so they hold for any local optimizer, and nothing
but weights travels in either direction. l_i is a store's gradient where it ended only if it trains for long enough to
end near its minimum; with few steps it lags behind, and a small alpha (h / alpha is what moves the model) overshoots.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.base import LocalTrainingSummary, Strategy


class FedDyn(Strategy):
    """Each store's loss is bent until all of them have their minimum at one place."""

    uses: ClassVar = frozenset({"weighting", "absent_classes", "alpha"})

    def begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """-l_i - alpha x; a store that is new has l_i = 0."""
        offset = start * -self.config.alpha
        return {"offset": offset - state["linear"] if "linear" in state else offset}

    def correct(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """g <- g + alpha w + (-l_i - alpha x)."""
        gradient.add_(weights, alpha=self.config.alpha).add_(local["offset"])

    def end(self, run: LocalTrainingSummary, local: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """l_i <- l_i - alpha (y_i - x) = -(-l_i - alpha x) - alpha y_i."""
        return {}, {"linear": torch.add(-local["offset"], run.end, alpha=-self.config.alpha)}

    def initial(self, params: Tensor, trainable: int) -> Tensors:
        """h = 0."""
        return {"linear": params.new_zeros(trainable)}

    def aggregate(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """x and h of the next round; buffers are taken from the mean."""
        total, start, linear = self.total(updates, present), params[:trainable], state["linear"].clone()
        for update in updates:
            share = self.weight(update) / total
            linear.sub_(update.params[:trainable] - start, alpha=self.config.alpha * share)
        mean = self.combine(updates)
        mean[:trainable].sub_(linear, alpha=1 / self.config.alpha)
        return mean, {"linear": linear}
