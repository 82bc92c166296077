"""FedNova. Wang, Liu, Liang, Joshi, Poor: Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization. NeurIPS 2020, Equations 5 to 8 with tau_eff = sum_i p_i |a_i|.

    y_i = x - eta sum_k a_ik g_ik:    d_i = (x - y_i) / (eta |a_i|)             |a_i| = sum_k a_ik
    server:  x <- x - (sum_j p_j eta |a_j|) sum_i p_i d_i                 p_i: as FedAvg weighs

|a_i| is the number K of steps for plain SGD, and sum_k (1 - beta^k) / (1 - beta), k = 1 .. K, with momentum beta.
A store that takes more steps (more images, more time) moves the model by its mean gradient, weighed as its images are,
and not by the number of its steps on top. If all stores do the same work, this is FedAvg.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from common.orders import StoreInfo, Update
from common.params import Tensors, weighted_mean
from common.strategies.base import Vectors
from common.strategies.reaching import REACH, Reaching


class FedNova(Reaching):
    """The mean of normalised updates."""

    uses: ClassVar = frozenset({"weighting"})

    def aggregate(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """x of the next round; buffers are taken from the mean that FedAvg takes."""
        whole = self.total(updates)
        shares = [self.weight(update) / whole for update in updates]
        reaches = [float(update.extras[REACH]) for update in updates]
        effective = sum(share * reach for share, reach in zip(shares, reaches, strict=True))
        scaled = [effective * share / reach for share, reach in zip(shares, reaches, strict=True)]
        moved = weighted_mean(Vectors(updates), scaled)[:trainable].lerp(params[:trainable], 1 - sum(scaled))
        buffers = self.combine(updates)[trainable:] if trainable < len(params) else params[:0]
        return torch.cat([moved, buffers]), state
