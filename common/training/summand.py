"""A store's part of a secure sum: its update, or its evaluation, in the elements of a ring.

Where elements have 16 bits, the part of a change that rounding or the range leaves out is added to
the store's next one, as in `error_feedback`.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.images.types import Images
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.formulas.metric import is_derived
from fedshelf.common.metrics.summed_counts import CountsLayout
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Summand,
    SumTerms,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies import Strategy
from fedshelf.common.strategies.shared import sum_layout
from fedshelf.common.strategies.shared.personalization import personal_slices
from fedshelf.common.strategies.shared.sum_layout import MAX_LOSS, StepRange, SumLayout

_BLOCK = 2**16  # coordinates whose squares are added at once


def layout_of(config: RunConfig, terms: SumTerms, strategy: Strategy, layout: Layout) -> SumLayout:
    """Return the places of a store's numbers in its vector, the same at the server."""
    return sum_layout.of_run(
        config,
        terms,
        layout,
        strategy.sum_sizes(layout.size, layout.trainable),
        strategy.sum_numbers,
        personal_slices(layout, strategy.personal_tensors()),
    )


def make_summand(
    order: TrainOrder,
    update: Update,
    images: Images,
    strategy: Strategy,
    layout: Layout,
    unsent: Tensor | None,
) -> tuple[Summand, Tensor | None] | None:
    """Return a store's vector, and the part of its change that later ones have to bring.

    Args:
        order: with terms
        update: the store's own; its params are float32 [P]
        images: the store's training images
        strategy: of the run
        layout: of the parameters
        unsent: float32 [T], the part of earlier changes that was not sent, or None

    Returns:
        (the summand; float32 [T], or None if nothing is kept). None if the change is not finite:
        then the training has diverged.
    """
    assert order.terms is not None
    places = layout_of(order.plan.config, order.terms, strategy, layout)
    change = update.params.cpu() - order.params.cpu()
    trainable = layout.trainable
    if unsent is not None:
        change[:trainable] += unsent
    norm = _norm(change.numpy())
    if not np.isfinite(norm):
        return None
    shortened = norm > places.bound
    sent = change * (places.bound / norm) if shortened else change
    steps = StepRange.of_round(order.plan.config, order.round, order.terms)
    vectors = strategy.sum_vectors(sent, update, trainable, steps)
    share = min(1.0, update.num_examples / order.terms.images)
    weight = 1.0 if order.plan.config.strategy.weighting == "uniform" else share
    row_weights = _row_weights(images, order, order.terms) if places.classes else None
    # the noise of a private training does not reach its loss
    loss = None if order.plan.config.privacy.is_on else update.loss
    numbers = {
        "images": share,
        "loss": 0.0 if loss is None else share * min(1.0, loss / MAX_LOSS),
        "told": 0.0 if loss is None else share,
        "shortened": float(shortened),
    } | {name: weight * value for name, value in strategy.sum_values(update, steps).items()}
    elements, codes = places.encode(
        {name: vector.numpy() for name, vector in vectors.items()}, numbers, weight, row_weights
    )
    signed = np.int32 if places.ring.bits == 32 else np.int16
    summand = Summand(
        update.store,
        order.round,
        torch.from_numpy(elements.view(signed)),
        num_examples=update.num_examples,
    )
    if places.ring.bits == 32:
        return summand, None
    weights = np.full(layout.size, weight)
    if row_weights is not None:
        for rows in places.rows:
            weights[rows] = np.repeat(row_weights, (rows.stop - rows.start) // places.classes)
    told = places.ring.decode(codes) * places.range / np.where(weights > 0, weights, 1.0)
    # a row that has no weight is not waited for
    left = np.where(weights > 0, change.numpy() - told, 0.0)[:trainable]
    return summand, torch.from_numpy(left.astype(np.float32))


def counts_layout(order: EvaluateOrder, terms: SumTerms) -> CountsLayout:
    """Return the places of a store's counts in its vector, the same at the server."""
    classes = len(order.plan.spec.classes)
    shapes = {
        name: metric.shape(classes)
        for name, metric in formulas.chosen(order.plan.config).items()
        if not is_derived(metric, classes)
    }
    return CountsLayout(classes, terms.stores, terms.images, shapes)


def counts_summand(order: EvaluateOrder, evaluation: Evaluation) -> Summand:
    """Return a store's evaluation as the vector that goes into the secure sum."""
    assert order.terms is not None
    places = counts_layout(order, order.terms)
    vector = places.encode(evaluation.counts, evaluation.adjusted)
    return Summand(evaluation.store, order.round, torch.from_numpy(vector.view(np.int32)))


def _row_weights(images: Images, order: TrainOrder, terms: SumTerms) -> NDArray[np.float64]:
    """Return the weight of a store in each row of the head, [C]."""
    counts = torch.bincount(images.targets().cpu(), minlength=len(order.plan.spec.classes)).numpy()
    if order.plan.config.strategy.weighting == "uniform":
        return (counts > 0).astype(np.float64)
    return np.minimum(1.0, counts / terms.images)


def _norm(vector: NDArray[np.float32]) -> float:
    """Return the L2 norm, summed in one order whatever the number of threads."""
    total = 0.0
    for start in range(0, len(vector), _BLOCK):
        block = vector[start : start + _BLOCK].astype(np.float64)
        total += float(np.square(block, out=block).sum())
    return float(np.sqrt(total))
