"""The secure sum as the round loop sees it: its terms in an order, and its sum as one update.

The runtime yields the sum of the stores' vectors. Read, it is one update, the mean of all, from
which the server half of the strategy goes on as from any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fedshelf.common import strategies
from fedshelf.common.compression import NONE
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics import formulas
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.ring import Ring
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    StoreInfo,
    SumTerms,
    SumTotal,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies import Strategy
from fedshelf.common.strategies.shared.sum_layout import (
    MAX_LOSS,
    SUM_NAME,
    StepRange,
    SummedUpdate,
)
from fedshelf.common.training.summand import counts_layout, layout_of
from fedshelf.server.updates.image_cap import capped, most_images, most_of
from fedshelf.server.updates.screening import RoundOutcome

LEAST_STORES = 3  # stores in a sum; with two, each would know the other's update
MIN_STEPS = 16  # of a number between 0 and 1 that two bytes are shared for


def terms(
    config: RunConfig, cohort: Sequence[str], present: Mapping[str, StoreInfo]
) -> SumTerms | None:
    """Return the terms of a training order's secure sum; None if the run has none.

    A store's weight grows up to the most images that a store of the cohort has declared, and the
    cap on images leaves it. If none has declared any, all weigh the same.
    """
    if not config.privacy.secure_sum:
        return None
    most = most_images(config, present)
    images = [capped(present[store], most).num_examples for store in cohort if store in present]
    return SumTerms(max(1, len(cohort)), max([1, *images]))


def collect(
    order: TrainOrder,
    cohort: Mapping[str, StoreInfo],
    counted: Mapping[str, StoreInfo],
    answers: Iterable[SumTotal | Failure | Update],
    strategy: Strategy,
    layout: Layout,
) -> RoundOutcome:
    """Return the outcome of an order with terms: one update at most, which is the mean of all.

    Args:
        order: the order
        cohort: the stores that got it
        counted: all present stores, with the images that they count for
        answers: of the runtime: failures, and one sum
        strategy: of the run
        layout: of the parameters
    """
    failed = {}
    total = None
    for answer in answers:
        assert not isinstance(answer, Update), "a runtime with a secure sum has no single updates"
        if isinstance(answer, Failure):
            failed[answer.store] = answer
        else:
            total = answer
    if total is not None and total.terms is not None:
        order = replace(order, terms=total.terms)
    summed = total.stores if total else ()
    for store in cohort.keys() - failed.keys() - set(summed):
        failed[store] = Failure(store, "timeout", "no answer in time")
    updates = [read(order, total, strategy, layout)] if total and total.stores else []
    return RoundOutcome(order, cohort, updates, dict(sorted(failed.items())), counted, {})


def read(order: TrainOrder, total: SumTotal, strategy: Strategy, layout: Layout) -> SummedUpdate:
    """Return the update that stands for all of a sum."""
    assert order.terms is not None
    config = order.plan.config
    is_uniform = config.strategy.weighting == "uniform"
    places = layout_of(config, order.terms, strategy, layout)
    stores = len(total.stores)
    assert stores <= order.terms.stores, "the sum may have wrapped round"
    elements = total.vector.numpy().view(places.ring.dtype)
    means = places.decode(elements, stores, uniform=is_uniform)
    numbers = means.numbers
    weight = float(stores) if is_uniform else numbers["images"]
    steps = StepRange.of_round(config, order.round, order.terms)
    change, extras = strategy.from_means(means, weight, layout.trainable, steps)
    images = max(1, round(numbers["images"] * order.terms.images))
    all_told = numbers["told"] == numbers["images"]  # the same digits of each store that tells
    by_class = means.images_by_class
    return SummedUpdate(
        SUM_NAME,
        order.round,
        order.params + change.to(order.params.device),
        images,
        numbers["loss"] / numbers["told"] * MAX_LOSS if all_told else None,
        seconds=0.0,
        extras={name: tensor.to(order.params.device) for name, tensor in extras.items()},
        steps=max(1, images // config.train.batch * config.train.passes),
        images_by_class=None if by_class is None else by_class * order.terms.images,
        stores=total.stores,
        shortened=round(numbers["shortened"]),
        vector_bytes=total.vector.nbytes,
    )


def judgement_terms(config: RunConfig, held_out: Mapping[str, int]) -> SumTerms:
    """Return the terms of an evaluation order's secure sum.

    Args:
        held_out: images that each store of the cohort has said to hold out
    """
    most = most_of(config, held_out.values())
    images = max(held_out.values())
    return SumTerms(len(held_out), images if most is None else min(most, images))


def judgements(
    order: EvaluateOrder, answers: Iterable[SumTotal | Failure | Evaluation]
) -> dict[str, Evaluation]:
    """Return the sum of the stores' evaluations, as that of one store; {} if there is none.

    Args:
        order: with terms
        answers: of the runtime: failures, and one sum
    """
    assert order.terms is not None
    for answer in answers:
        assert not isinstance(answer, Evaluation), "a secure sum has no single evaluations"
        if isinstance(answer, SumTotal) and len(answer.stores) >= LEAST_STORES:
            places = counts_layout(order, answer.terms or order.terms)
            raw, adjusted = places.decode(answer.vector.numpy().view(np.uint32))
            has_own = order.plan.config.strategy.absent != "full"
            metrics = formulas.chosen(order.plan.config)
            raw, adjusted = (formulas.with_derived(way, metrics) for way in (raw, adjusted))
            return {SUM_NAME: Evaluation(SUM_NAME, order.round, raw, adjusted if has_own else None)}
    return {}


def zeros(order: TrainOrder | EvaluateOrder, strategy: Strategy, layout: Layout) -> RingVector:
    """Return the sum of no vectors, ring elements [Q], for an order with terms."""
    assert order.terms is not None
    if isinstance(order, EvaluateOrder):
        return np.zeros(counts_layout(order, order.terms).size, np.uint32)
    places = layout_of(order.plan.config, order.terms, strategy, layout)
    return np.zeros(places.size, places.ring.dtype)


def check(config: RunConfig, layout: Layout) -> None:
    """Check that all settings go with a secure sum, if the run has one.

    Raises:
        ConfigError: one needs single updates, or breaks the sum
    """
    if not config.privacy.secure_sum:
        return
    name = config.strategy.name
    if strategies.needs_single_updates(strategies.find(name)):
        raise ConfigError(
            f"Setting strategy.name got {name!r} with privacy.secure_sum: it compares or keeps"
            " single updates, and the server has their sum alone; choose another strategy, such as"
            " fedavg, or leave privacy.secure_sum out."
        )
    screening = config.screening
    compression = config.messages.compression
    chosen = formulas.chosen(config).items()
    broken = [name for name, metric in chosen if metric.dtype is not np.int64]
    faults = {
        f"evaluation.metrics={','.join(broken)} has sums that are no whole numbers, which are not"
        " added under masks; leave it out": bool(broken),
        "screening.detect=on looks at single updates, which are not visible by design; leave it"
        " out": screening.detect == "on",
        f"screening.suspects={screening.suspects} acts on single updates, which are not visible by"
        " design; leave it out": screening.suspects != "report",
        "messages.compression=top-k sends other places of each store's vector, which cannot be"
        " added under masks; use fp16 or int8": compression == "top-k",
        f"messages.compression={compression} rounds too coarsely for statistics of batch norm; use"
        " model.norm=group, or none": compression != NONE and layout.size > layout.trainable,
        f"messages.compression={compression} keeps what it rounds off, which {name} would scale"
        " wrongly; use none": compression != NONE and name in ("scaffold", "fednova"),
        f"train.seconds={config.train.seconds:g} would give a store that starts again another"
        " update than the one it has hidden; leave it out": config.train.seconds > 0,
        f"cohort.min_stores={config.cohort.min_stores} hides a store among too few; set it to"
        f" {LEAST_STORES} or more": config.cohort.min_stores < LEAST_STORES,
    }
    for sentence, is_wrong in faults.items():
        if is_wrong:
            raise ConfigError(f"Setting privacy.secure_sum got true, but {sentence}.")


def check_stores(config: RunConfig, stores: int) -> None:
    """Check that the ring of a secure sum holds the numbers of so many stores.

    Raises:
        ConfigError: they are too many for the compression
    """
    compression = config.messages.compression
    if config.privacy.secure_sum and compression != NONE and Ring(stores, 16).steps < MIN_STEPS:
        raise ConfigError(
            f"Setting messages.compression got {compression!r} with privacy.secure_sum and {stores}"
            f" stores in a round: each has 16 bits minus those of their number, and needs"
            f" {MIN_STEPS} steps; use none, or a smaller cohort.fraction."
        )
