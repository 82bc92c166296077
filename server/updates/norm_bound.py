"""The largest norm of an update: by the others of its round, by earlier rounds, and by the order that it answers.

A norm is that of what training changed, ||params - order's params||_2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.config.schedules import learning_rate
from fedshelf.common.strategies.shared.base import reach

MIN_UPDATES_FOR_MEDIAN = 4  # updates: with fewer, one store's norm weighs too much in what is usual ...
LENIENT = 5.0  # ... so that as many times more is allowed
OF_ORDER = 1000.0  # times what gradients of 1 in every coordinate would change, and the model that training began with
NORM_ROUNDS = 10  # rounds, with that of the largest norm
BEFORE = "was usual in the rounds before"


@dataclass(frozen=True)
class UsualNorms:
    """The usual norm of each of the last rounds, oldest first; part of the history's lines, and so of checkpoints.

    The largest one of all rounds is never dropped: a store that comes once the others have learned all of theirs, and
    hardly move any more, moves as they did in the beginning.
    """

    recent: tuple[float, ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "UsualNorms":
        """Return what a line of the history says; lines of earlier versions say nothing."""
        return cls(tuple(record.get("usual_norms", ()))) if record else cls()

    def after(self, norms: Mapping[str, float]) -> "UsualNorms":
        """The same after a round whose good updates have these norms."""
        if not norms:
            return self
        known = (*self.recent, usual(norms))
        if len(known) <= NORM_ROUNDS:
            return UsualNorms(known)
        oldest = 1 if known[0] == max(known) else 0
        return UsualNorms(known[:oldest] + known[oldest + 1 :])

    @property
    def most(self) -> float:
        """The largest of them; 0: nothing is known. A learning rate never rises, so later norms need no more."""
        return max(self.recent, default=0.0)


def usual(norms: Mapping[str, float]) -> float:
    """The middle one of at least three norms (of an even number the lower), and the larger one of two.

    A tiny update beside one other must not make that one look large.
    """
    ordered = sorted(norms.values())
    return ordered[(len(ordered) - 1) // 2] if len(ordered) > 2 else ordered[-1]


def too_large(norms: Mapping[str, float], images: Mapping[str, int], limit: float) -> dict[str, float]:
    """Stores whose update is more than `limit` times as large as is usual, with how many times.

    Usual is the cohort's median, and for a store with more images than the median as many times more: each image
    is a step, or part of one, away from the global model. Stores with fewer images are not measured by less.
    """
    if not limit or len(norms) < MIN_UPDATES_FOR_MEDIAN:
        return {}
    usually, middle = usual(norms), usual({store: images[store] for store in norms})
    if usually == 0:
        return {}
    times = {store: norm / usually / max(1.0, images[store] / middle) for store, norm in norms.items()}
    return {store: found for store, found in times.items() if found > limit}


@dataclass(frozen=True)
class NormBound:
    """Judges the norms of one round's updates.

    earlier: the usual norms of the rounds before
    size:    coordinates of a vector
    start:   ||params||_2 of the order
    lr:      learning rate of the round
    """

    config: RunConfig
    earlier: UsualNorms
    size: int
    start: float
    lr: float

    @classmethod
    def of_round(cls, config: RunConfig, number: int, earlier: UsualNorms, size: int, start: float) -> "NormBound":
        """The bound for round `number`."""
        return cls(config, earlier, size, start, learning_rate(config.train, number, config.run.rounds))

    def faults(
        self, norms: Mapping[str, float], extras: Mapping[str, float], images: Mapping[str, int]
    ) -> dict[str, str]:
        """Return the updates that are too large, in words.

        extras: norm of the largest tensor that came beside the parameters; images: as they count. All by store.
        """
        if not self.config.screening.norm_factor:
            return {}
        found = {}
        for store, norm in norms.items():
            most, most_beside = self.of_order(images[store]), self.of_order(images[store], least=1.0)
            if norm > most:
                found[store] = _beyond("an update", norm, most)
            elif extras[store] > most_beside:
                found[store] = _beyond("extras", extras[store], most_beside)
        rest = {store: norm for store, norm in norms.items() if store not in found}
        return found | self._beside_others(rest, images)

    def of_order(self, images: int, least: float = 0.0) -> float:
        """The norm beyond which nothing that so many images teach can lie: generous, as gradients have no bound.

        least: distance in each coordinate that steps count for at least; 1: what is like a gradient, not like a change
        """
        train = self.config.train
        steps = -(-images // train.batch) * train.passes
        carried = reach(steps, self.lr, train.momentum if train.optimizer == "sgd" else 0.0)
        return OF_ORDER * (self.start + max(carried, least) * sqrt(self.size))

    def _beside_others(self, norms: Mapping[str, float], images: Mapping[str, int]) -> dict[str, str]:
        """Updates that are too large for their cohort, or where that is too small, for the rounds before."""
        limit, where = self.config.screening.norm_factor, "is usual in its cohort"
        if self.config.data.dataset != STORES_OWN and len(norms) >= MIN_UPDATES_FOR_MEDIAN:
            times = too_large(norms, images, limit)  # numbers of images are true here
        else:
            at_hand = usual(norms) if len(norms) > 2 else 0.0  # of two, nobody knows which
            usually = max(at_hand, self.earlier.most)
            if len(norms) < MIN_UPDATES_FOR_MEDIAN:
                limit *= LENIENT
                where = where if at_hand == usually else BEFORE
            times = {store: norm / usually for store, norm in norms.items() if usually and norm > limit * usually}
        advice = "; if its photos are as they were, training diverges: a new run may take a lower train.lr"
        hint = f"{advice}, or train.clip_norm" if where == BEFORE else ""
        return {
            store: f"has an update {found:.1f} times as large as {where}; {limit:g} times is allowed"
            f" (screening.norm_factor, which a restart may change){hint}"
            for store, found in times.items()
        }


def _beyond(what: str, norm: float, most: float) -> str:
    found = f"{norm:.3g}" if isfinite(norm) else "beyond 1e19"
    return (
        f"has {what} of norm {found}, where its order allows {most:.3g} (by steps, learning rate and the model's size;"
        " a restart with screening.norm_factor=0 allows any)"
    )
