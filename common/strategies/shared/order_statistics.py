"""Shares of the stores' values by rank, for strategies such as the median and the trimmed mean."""

import torch
from torch import Tensor


def rank_shares(block: Tensor, begin: int, end: int) -> Tensor:
    """Return each value's share in the mean of ranks [begin, end) of its column: [n, b], for
    `block` [n, b].

    Of equal values, the first has the lowest rank.
    """
    chosen = block.argsort(dim=0, stable=True)[begin:end]
    return torch.zeros_like(block).scatter_(0, chosen, 1 / (end - begin))
