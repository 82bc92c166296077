"""Choice of the stores' values by rank, for strategies such as the median and the trimmed mean."""

import torch
from torch import Tensor


def rank_shares(block: Tensor, begin: int, end: int) -> Tensor:
    """Each value's share in the mean of those of ranks [begin, end) in its column of `block` [n, b]: [n, b].

    Of equal values, the first has the lowest rank.
    """
    chosen = block.argsort(dim=0, stable=True)[begin:end]
    return torch.zeros_like(block).scatter_(0, chosen, 1 / (end - begin))
