"""A round's line in the history, and its part of the run's totals."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fedshelf.common.config import RunConfig
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.shared.sum_layout import SummedUpdate
from fedshelf.server.results.checkpoints import Totals, TrainingState
from fedshelf.server.results.per_store import summarize_counts, to_history
from fedshelf.server.results.run_directory import Record
from fedshelf.server.results.scores import Scores
from fedshelf.server.store_privacy import photo_privacy
from fedshelf.server.store_privacy.mechanism import STORE_RECORD_KEY
from fedshelf.server.updates.contribution import shares_of_step
from fedshelf.server.updates.norm_bound import UsualNorms
from fedshelf.server.updates.screening import RoundOutcome
from fedshelf.server.updates.store_findings import Standing

BYTES_PER_FLOAT = 4


@dataclass
class PhaseTimer:
    """Seconds per phase of one round."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to `phase`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(phase, time.perf_counter() - began)

    def add(self, phase: str, seconds: float) -> None:
        """Add seconds to a phase, for work that was measured elsewhere.

        A negative number takes time away.
        """
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds


@dataclass(frozen=True)
class NextModel:
    """A new model, and the findings on a round's updates.

    Attributes:
        standing: of the stores after the round
        suspicions: store -> reason why its update looks suspicious
        contributed: of each update (see `server.updates.contribution`)
        taken_back: the history's entry on the update that was taken back, if one was
        privacy: the history's entry on the noise, if stores are protected by it
    """

    trained: RoundOutcome
    after: TrainingState
    standing: Standing
    suspicions: Mapping[str, str]
    contributed: Sequence[float]
    scores: Scores | None
    taken_back: Mapping[str, Any] | None = None
    privacy: Mapping[str, Any] | None = None


def totals(trained: RoundOutcome, config: RunConfig, seconds: Mapping[str, float]) -> Totals:
    """Return one round's images, bytes of parameters down and up, and seconds per phase."""
    order = trained.order
    down = order.params.numel() + sum(tensor.numel() for tensor in order.extras.values())
    images = sum(_images(u, config) for u in trained.updates)
    up = sum(u.wire_bytes for u in trained.updates)
    return Totals(images, down * len(trained.asked) * BYTES_PER_FLOAT, up, dict(seconds))


def _images(update: Update, config: RunConfig) -> int:
    """Return the images that a store trained on, each counted once a pass.

    If a time budget may have ended the training, the number is right to within a batch. Of a
    private training it is the number that its steps draw on average. A store that took no step went
    over its images once, for a strategy in closed form.
    """
    if not update.steps:
        return update.num_examples
    if config.privacy.is_on:
        return round(update.num_examples * config.privacy.rate * update.steps)
    train = config.train
    all_passes = update.num_examples * train.passes
    return min(all_passes, update.steps * train.batch) if train.seconds else all_passes


def line(
    model: NextModel, config: RunConfig, totals: Totals, norms: UsualNorms, shortfall: str | None
) -> Record:
    """Return the round's line in the history.

    Args:
        totals: of this round alone
        norms: the usual norms of the rounds before
        shortfall: the reason why the round has too few updates for the strategy's guarantee
    """
    trained = model.trained
    scores = model.scores
    round_number = trained.order.round
    updates = trained.updates
    shares, squared_step = shares_of_step(model.contributed)
    images = sum(u.num_examples for u in updates)
    objective = config.train.objective
    validation, raw = (
        (scores.together() or scores.held_out, _raw(scores)) if scores else (None, None)
    )
    return {
        "round": round_number,
        "lr": learning_rate(config.train, round_number, config.run.rounds),
        "sampled": list(trained.asked),
        "stores": _stores(trained, shares),
        "capped": {
            name: {"claimed": info.num_examples, "counted": trained.present[name].num_examples}
            for name, info in trained.asked.items()
            if info.num_examples > trained.present[name].num_examples
        },
        "clipped": dict(trained.clipped),
        "failed": {
            name: {"code": failure.code, "reason": failure.reason}
            for name, failure in trained.failed.items()
        },
        "train": {
            "loss": _mean_loss(updates),
            "images": images,
            "squared_step": squared_step,
            **_summed(updates),
        },
        "test": summarize_counts(scores.test, objective) if scores and scores.test else None,
        "validation": (
            summarize_counts(validation, objective) | to_history(scores.stores, objective)
            if scores and validation
            else None
        ),
        "validation_raw": summarize_counts(raw, objective) if raw else None,
        "adjustment": ("adjusted" if scores.is_adjusted else "raw") if scores and raw else None,
        "seconds": dict(totals.seconds),
        "bytes": {"down": totals.bytes_down, "up": totals.bytes_up},
        "suspicion": model.suspicions,
        "standing": model.standing.to_record(),
        "shortfall": shortfall,
        "usual_norms": list(norms.after(trained.norms).recent),
        **({"taken_back": model.taken_back} if model.taken_back else {}),
        **({STORE_RECORD_KEY: model.privacy} if model.privacy else {}),
        **photo_privacy.record(config, round_number),
    }


def skipped_line(
    round_number: int, config: RunConfig, before: Mapping[str, Any] | None, why: str
) -> Record:
    """Return the line in the history of a round without any update.

    Args:
        before: the line of the round before, or None
        why: the reason
    """
    last = before or {}
    return {
        "round": round_number,
        "lr": learning_rate(config.train, round_number, config.run.rounds),
        **{name: {} for name in ("stores", "capped", "clipped", "failed", "suspicion")},
        "sampled": [],
        "train": {"loss": None, "images": 0, "squared_step": None},
        **dict.fromkeys(("test", "validation", "validation_raw", "adjustment")),
        "seconds": dict.fromkeys(("train", "aggregate", "inspect", "evaluate", "total"), 0.0),
        "bytes": {"down": 0, "up": 0},
        "standing": last.get("standing", Standing().to_record()),
        "shortfall": None,
        "usual_norms": last.get("usual_norms", []),
        "skipped": why,
    }


def _stores(trained: RoundOutcome, shares: Sequence[float | None]) -> dict[str, Record]:
    """Return the facts of each store whose update counts.

    Of one in a secure sum, only the images that it has declared are known.

    Args:
        shares: of the updates in the step of the model
    """
    if trained.order.terms is not None:
        return {
            store: {"images": trained.present[store].num_examples}
            | dict.fromkeys(("steps", "loss", "seconds", "contribution", "norm"))
            for store in trained.stores
        }
    return {
        u.store: {
            "images": u.num_examples, "steps": u.steps, "loss": _loss(u), "seconds": u.seconds,
            "contribution": share, "norm": trained.norms[u.store],
        }
        for u, share in zip(trained.updates, shares, strict=True)
    }  # fmt: skip


def _summed(updates: Sequence[Update]) -> Record:
    """Return the number of updates that a secure sum has shortened; {} without such a sum."""
    numbers = [update.shortened for update in updates if isinstance(update, SummedUpdate)]
    return {"shortened": sum(numbers)} if numbers else {}


def _loss(update: Update) -> float | None:
    """Return the loss of a store's training; None if the store withholds it, or took no step.

    The loss that a store without a step sends is that of the model before the round.
    """
    return update.loss if update.steps else None


def _mean_loss(updates: Sequence[Update]) -> float | None:
    """Return the mean loss of the stores' training, weighted by images.

    None if one of them has none.
    """
    images = sum(update.num_examples for update in updates)
    total = 0.0
    for update in updates:
        if (loss := _loss(update)) is None:
            return None
        total += loss * update.num_examples
    return total / images


def _raw(scores: Scores) -> Counts | None:
    """Return the stores' counts of the raw model; None if they use it without adjustments."""
    ways = scores.ways()
    return ways["raw"] if "adjusted" in ways else None
