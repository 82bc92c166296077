"""The best round so far, and the round whose model a run delivers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.results.checkpoints import Best, Checkpoints, TrainingState

# The images that rounds are judged on, by `Best.on`; earlier entries have priority.
DECIDING_IMAGES = {
    "validation": "the stores' validation images",
    "server-validation": "those of the server's images that are held out to choose by",
    "test": "test images",
}


@dataclass(frozen=True)
class Delivery:
    """A round's state, and the reason in the words that follow "round 7 of 10"."""

    state: TrainingState
    because: str


def has_validation(config: RunConfig, stores: Mapping[str, StoreInfo]) -> bool:
    """Return whether stores evaluate rounds on validation images."""
    return config.evaluation.stores and any(info.validation for info in stores.values())


def is_best_delivered(config: RunConfig, last: TrainingState) -> bool:
    """Return whether a run that ended with `last` would deliver its best round instead."""
    return config.run.deliver != "last" and last.best is not None and last.best.on != "test"


def deliver(config: RunConfig, last: TrainingState, checkpoints: Checkpoints) -> Delivery:
    """Choose the round that a run delivers: its best on validation images, or its last one.

    Raises:
        RunError: the best round's checkpoint is gone or damaged
    """
    if config.run.deliver == "last":
        is_solved = strategies.find(config.strategy.name).closed_form
        return Delivery(
            last,
            "the last, which has the sums of all stores so far"
            if is_solved
            else "the last, as run.deliver asks for",
        )
    if last.best is None or last.best.on == "test":
        metric = config.evaluation.metric.replace("_", " ")
        by = "" if last.best or metric == "accuracy" else f" by {metric}"
        return Delivery(last, f"the last, as no round was judged{by} on validation images")
    because = explain_best(last.best, config)
    return Delivery(
        last if last.best.round == last.round else checkpoints.load(last.best.round), because
    )


def best_round(
    state: TrainingState, round_number: int, deciding: tuple[str, Counts] | None, metric: str
) -> tuple[Best | None, int]:
    """Return the best round up to round `round_number`, and the number of evaluations since.

    Rounds judged on different images are not compared. If a round is judged on images of higher
    priority (see DECIDING_IMAGES), the choice begins anew; a round without results on images of the
    priority reached so far does not count, and neither does one whose figure a store withholds.

    Args:
        deciding: the images on which the round was judged, and the counts; None: it was not judged
    """
    before = state.best
    rank = list(DECIDING_IMAGES)
    if deciding is None or (before is not None and rank.index(deciding[0]) > rank.index(before.on)):
        return before, state.stale
    on, counts = deciding
    value = formulas.value_of(counts, metric)
    if math.isnan(value) and (metric != "loss" or counts.loss_sum is None):
        return before, state.stale
    if before is None or before.on != on or math.isnan(before.value):
        is_better = True
    else:
        is_lower_better = formulas.better(metric, counts.metrics) == "lower"
        is_better = value < before.value if is_lower_better else value > before.value
    return (
        (Best(round_number, value, counts.accuracy, on), 0)
        if is_better
        else (before, state.stale + 1)
    )


def explain_best(best: Best, config: RunConfig) -> str:
    """Say why a round is the best: "the best by accuracy on the stores' validation images"."""
    return f"the best by {config.evaluation.metric.replace('_', ' ')} on {DECIDING_IMAGES[best.on]}"
