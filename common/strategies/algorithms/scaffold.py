"""SCAFFOLD. Karimireddy, Kale, Mohri, Reddi, Stich, Suresh: SCAFFOLD: Stochastic Controlled Averaging for
Federated Learning. ICML 2020, Algorithm 1 with option II.

    client:  y <- y - eta (g_i(y) - c_i + c)                      K steps from y = x
             c_i+ = c_i - c + (x - y) / (K eta)
    server:  x <- x + eta_g sum_i q_i (y_i - x),   c <- c + sum_i p_i (c_i+ - c_i)       i in the cohort

With weighting uniform, q_i = 1 / |S| and p_i = 1 / N, as in the paper; by images, q_i = n_i / sum of the cohort's
and p_i = n_i / sum of all stores', so that c stays the mean of the c_i in which the global objective weighs them, and
the corrections of all stores cancel out. |S| stores are in the cohort, N are present.

With momentum beta, K becomes sum_k (1 - beta^k) / (1 - beta), k = 1 .. K: what K gradients of one carry weights by, in
eta. That keeps (x - y) / (K eta) what it is in the paper, the mean of the gradients that moved the store. With the
bare K, which is the same without momentum, c_i would be 1 / (1 - beta) times a gradient, and the next correction,
which momentum amplifies as it does a gradient, would overshoot by as much, further in each round.

Where classes that a store lacks count little (mask, weigh), each row of the head is a mean over the stores that have
its class, and c is a mean over all. Both end at one place: where each c_i is its store's gradient, all stores move by
the same c, and any mean of equal moves is that move. So the head is corrected like all else. Without that, its rows
would end where the gradients of their own stores cancel out, at a point that the corrected layers before it do not
have, and go up there round after round.

c_i+ - c_i = (x - y) / (K eta) - c follows from what the server has, so it does not travel: K eta does.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.base import LocalTrainingSummary
from fedshelf.common.strategies.shared.normalized_steps import REACH, NormalizedSteps


class Scaffold(NormalizedSteps):
    """Local training without the drift to a store's own optimum; eta_g is `server_lr` (0: 1)."""

    uses: ClassVar = frozenset({"weighting", "absent_classes", "server_lr"})

    def unfit(self, config: RunConfig) -> str | None:
        """What moved a store, over K eta, is its mean gradient only where all weights have one eta."""
        if config.train.backbone_lr != 1:
            return f"has one learning rate for all weights, and train.backbone_lr is {config.train.backbone_lr:g}"
        return super().unfit(config)

    def begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """c - c_i; a store that is new has c_i = 0."""
        shift = extras["control"] - state["control"] if "control" in state else extras["control"].clone()
        return {"shift": shift}

    def correct(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """g <- g + (c - c_i)."""
        gradient.add_(local["shift"])

    def end(self, run: LocalTrainingSummary, local: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """c_i+ = (x - y) / (K eta) - (c - c_i)."""
        extras, _ = super().end(run, local, state)
        return extras, {"control": (run.start - run.end) / run.reach - local["shift"]}

    def initial(self, params: Tensor, trainable: int) -> Tensors:
        """c = 0."""
        return {"control": params.new_zeros(trainable)}

    def extras(self, state: Tensors) -> Tensors:
        """c."""
        return {"control": state["control"]}

    def aggregate(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """x and c of the next round; buffers are taken from the mean."""
        total, control, start = self.total(updates, present), state["control"].clone(), params[:trainable]
        for update in updates:
            share = self.weight(update) / total
            control.sub_(state["control"], alpha=share)
            control.add_(start - update.params[:trainable], alpha=share / float(update.extras[REACH]))
        mean = self.combine(updates)
        moved = start + (self.config.server_lr or 1.0) * (mean[:trainable] - start)
        return torch.cat([moved, mean[trainable:]]), {"control": control}
