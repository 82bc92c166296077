"""The sum of simulated stores' vectors: that of a secure sum, whose masks cancel out exactly."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.metrics.summed_counts import CountsLayout
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Summand,
    SumTotal,
)


def plain_sum(
    round_number: int, answers: Iterable[Summand | Failure]
) -> Iterator[SumTotal | Failure]:
    """Yield the failures among the answers to an order, then the sum of all vectors, if any came.

    It is taken in the ring, so the order of the answers changes nothing.
    """
    stores = []
    total: Tensor | None = None
    for answer in answers:
        if isinstance(answer, Failure):
            yield answer
            continue
        stores.append(answer.store)
        total = answer.vector.clone() if total is None else total.add_(answer.vector)
    if total is not None:
        yield SumTotal(round_number, tuple(sorted(stores)), total)


def counts_summand(order: EvaluateOrder, evaluation: Evaluation) -> Summand:
    """Return a store's evaluation as the vector that goes into the secure sum."""
    assert order.terms is not None
    classes = len(order.plan.spec.classes)
    places = CountsLayout(classes, order.terms.stores, order.terms.images)
    vector = places.encode(evaluation.counts, evaluation.adjusted)
    return Summand(evaluation.store, order.round, torch.from_numpy(vector.view(np.int32)))
