"""What each store contributes to the steps that the global model takes: an estimate that looks at no image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedshelf.common.parameters.aggregation import BLOCK
from fedshelf.common.protocol.messages import Update
from fedshelf.server.results import per_store

MAX_COORDINATES = 2**24  # coordinates of all updates together that a round looks at, evenly spread: 64 MiB


def contributions(
    start: Tensor,
    trainable: int,
    updates: Sequence[Update],
    weights: Sequence[float],
    rank_shares: Callable[[Tensor], Tensor | None] = lambda _: None,
) -> list[float]:
    """Each update's part in the step of their weighted mean, in store order.

    With d_i [T] what training changed at store i, w_i its share of the weights and D = sum_i w_i d_i the step:

        c_i = w_i <d_i, D>,   so that sum_i c_i = |D|^2

    c_i is the Shapley value of the game in which stores S are worth <sum_{i in S} w_i d_i, D>: how far their step
    leads where all together go. It follows Xu et al. 2021 ("Gradient Driven Rewards to Guarantee Fairness
    in Collaborative Machine Learning"), with inner products in place of their cosines, as a store with
    more images takes part with more weight. A store that pulls against the others has a negative one.

    Where each coordinate is a mean of some middle values (median, trimmed mean), w_i d_i has its own w_i in each.

    weights: 0 for an update that was not used (Krum)
    rank_shares: the w_i [n, b] of some coordinates' values [n, b], see `Strategy.rank_shares`
    start: float32 [P], the global model that they started from. Of long vectors, every k-th block is looked at and
    counted k times.
    """
    shares = torch.tensor(weights, dtype=torch.float32, device=updates[0].params.device) / sum(weights)
    stride = max(1, -(-trainable * len(updates) // MAX_COORDINATES)) * BLOCK
    found = torch.zeros_like(shares)
    for begin in range(0, trainable, stride):
        end = min(begin + BLOCK, trainable)
        values = torch.stack([update.piece(begin, end) for update in updates])
        changes = values - start[begin:end].to(shares.device)
        own = rank_shares(values)
        parts = changes * (shares[:, None] if own is None else own)
        found += parts @ parts.sum(dim=0)
    return (found * (stride // BLOCK)).tolist()


def in_round(contributed: Sequence[float]) -> tuple[list[float | None], float]:
    """Each update's share of its round's step, which add up to 1, and the step's squared length |D|^2.

    contributed: the c_i. No update has a share of no step: None.
    """
    squared_step = sum(contributed)
    return [part / squared_step if squared_step > 0 else None for part in contributed], squared_step


def in_summary(history: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """Store -> its share of all steps of a run: its c_i over all rounds, by those of all stores; they add up to 1.

    None for more stores than `per_store.MAX_STORES_ONE_BY_ONE`, or if the model took no step: the history has what
    there is. Rounds of earlier versions tell the c_i themselves.
    """
    sums: dict[str, float] = {}
    for record in history:
        squared_step = record["train"].get("squared_step", 1.0)
        for store, told in record["stores"].items():
            sums[store] = sums.get(store, 0.0) + (told.get("contribution") or 0.0) * squared_step
    total = sum(sums.values())
    if total <= 0 or len(sums) > per_store.MAX_STORES_ONE_BY_ONE:
        return None
    return {store: value / total for store, value in sorted(sums.items())}
