"""Estimate of each store's contribution to the steps of the global model; it looks at no image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES
from fedshelf.common.protocol.messages import Update
from fedshelf.server.results import per_store

# coordinates of all updates together that a round looks at, evenly spread: 64 MiB
MAX_COORDINATES = 2**24


def contributions(
    start: Tensor,
    trainable: int,
    updates: Sequence[Update],
    weights: Sequence[float],
    rank_shares: Callable[[Tensor], Tensor | None] = lambda _: None,
) -> list[float]:
    """Return each update's part in the step of their weighted mean, in store order.

    With d_i [T] the change by training at store i, w_i its share of the weights and D = sum_i w_i
    d_i the step:

        c_i = w_i <d_i, D>,   so that sum_i c_i = |D|^2

    c_i is the Shapley value of the game in which a set S of stores is worth <sum_{i in S} w_i d_i,
    D>: how far their step leads in the direction of all together. It follows Xu et al. 2021
    ("Gradient Driven Rewards to Guarantee Fairness in Collaborative Machine Learning"), with inner
    products in place of their cosines, because a store with more images has more weight. A store
    that pulls against the others has a negative c_i. For rules that average some middle values of
    each coordinate (median, trimmed mean), w_i has its own value in each coordinate.

    Of long vectors only every k-th block is used, and counts k times.

    Args:
        start: float32 [P], the global model that the updates started from
        weights: of the updates; 0 for one that was not used (Krum)
        rank_shares: returns the w_i [n, b] of some coordinates' values [n, b], see
            `Strategy.rank_shares`
    """
    shares = torch.tensor(weights, dtype=torch.float32, device=updates[0].params.device) / sum(
        weights
    )
    stride = max(1, -(-trainable * len(updates) // MAX_COORDINATES)) * BLOCK_COORDINATES
    products = torch.zeros_like(shares)
    for begin in range(0, trainable, stride):
        end = min(begin + BLOCK_COORDINATES, trainable)
        values = torch.stack([update.params_slice(begin, end) for update in updates])
        changes = values - start[begin:end].to(shares.device)
        own = rank_shares(values)
        parts = changes * (shares[:, None] if own is None else own)
        products += parts @ parts.sum(dim=0)
    return (products * (stride // BLOCK_COORDINATES)).tolist()


def shares_of_step(contributed: Sequence[float]) -> tuple[list[float | None], float]:
    """Return each update's share of its round's step, and the step's squared length |D|^2.

    The shares add up to 1. They are None if the step has no length.

    Args:
        contributed: the c_i
    """
    squared_step = sum(contributed)
    return [part / squared_step if squared_step > 0 else None for part in contributed], squared_step


def to_summary(history: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return {store: its share of all steps of a run}; the shares add up to 1.

    A share is the sum of the store's c_i over all rounds, divided by that sum of all stores. None
    if there are more stores than `per_store.MAX_STORES_ONE_BY_ONE`, or if the model took no step;
    the history then has all that is known. Rounds of earlier versions have the c_i themselves.
    """
    sums: dict[str, float] = {}
    for record in history:
        squared_step = record["train"].get("squared_step", 1.0)
        for store, facts in record["stores"].items():
            sums[store] = sums.get(store, 0.0) + (facts.get("contribution") or 0.0) * squared_step
    total = sum(sums.values())
    if total <= 0 or len(sums) > per_store.MAX_STORES_ONE_BY_ONE:
        return None
    return {store: value / total for store, value in sorted(sums.items())}
