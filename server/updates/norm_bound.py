"""The largest allowed norm of an update.

It is known from the others of its round, from earlier rounds, and from its order.

A norm is that of the change by training, ||params - order's params||_2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.config.learning_rate_schedule import learning_rate
from fedshelf.common.strategies.shared.local_training import normalized_steps

# updates: with fewer, one store's norm has too much weight in the median ...
MIN_UPDATES_FOR_MEDIAN = 4
LENIENT = 5.0  # ... so the limit is this many times larger
# times the change by gradients of 1 in every coordinate plus the norm of the order's parameters
OF_ORDER = 1000.0
NORM_ROUNDS = 10  # rounds that are kept, with that of the largest norm
BEFORE = "was usual in the rounds before"


@dataclass(frozen=True)
class UsualNorms:
    """The usual norm of each of the last rounds, oldest first.

    They are part of the history's lines, and so of checkpoints.

    The largest one of all rounds is never dropped. A store may come late, when the others have
    learned all of theirs and hardly move any more; its update is then as large as theirs were in
    the beginning.
    """

    recent: tuple[float, ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "UsualNorms":
        """Read the norms from a line of the history; lines of earlier versions have none."""
        return cls(tuple(record.get("usual_norms", ()))) if record else cls()

    def after(self, norms: Mapping[str, float]) -> "UsualNorms":
        """Return the usual norms after a round whose good updates have these norms."""
        if not norms:
            return self
        known = (*self.recent, usual(norms))
        if len(known) <= NORM_ROUNDS:
            return UsualNorms(known)
        oldest = 1 if known[0] == max(known) else 0
        return UsualNorms(known[:oldest] + known[oldest + 1 :])

    @property
    def most(self) -> float:
        """The largest of them; 0: none is known.

        A learning rate never rises, so later norms need no more.
        """
        return max(self.recent, default=0.0)


def usual(norms: Mapping[str, float]) -> float:
    """Return the median of at least three norms, or the larger of two.

    Of an even number it is the lower middle one.

    With two, a tiny update must not make the other one look large.
    """
    ordered = sorted(norms.values())
    return ordered[(len(ordered) - 1) // 2] if len(ordered) > 2 else ordered[-1]


def too_large(
    norms: Mapping[str, float], images: Mapping[str, int], limit: float
) -> dict[str, float]:
    """Return the stores whose update is more than `limit` times the usual size, with the factor.

    Usual is the cohort's median. A store with more images than the median is allowed as many times
    more, because each image is a step, or part of one, away from the global model. Stores with
    fewer images have the same limit.
    """
    if not limit or len(norms) < MIN_UPDATES_FOR_MEDIAN:
        return {}
    usually = usual(norms)
    middle = usual({store: images[store] for store in norms})
    if usually == 0:
        return {}
    times = {
        store: norm / usually / max(1.0, images[store] / middle) for store, norm in norms.items()
    }
    return {store: factor for store, factor in times.items() if factor > limit}


@dataclass(frozen=True)
class NormBound:
    """Checks the norms of one round's updates.

    Attributes:
        earlier: the usual norms of the rounds before
        size: coordinates of a vector
        start: ||params||_2 of the order
        lr: learning rate of the round
    """

    config: RunConfig
    earlier: UsualNorms
    size: int
    start: float
    lr: float

    @classmethod
    def of_round(
        cls, config: RunConfig, round_number: int, earlier: UsualNorms, size: int, start: float
    ) -> "NormBound":
        """Return the bound for round `round_number`."""
        return cls(
            config,
            earlier,
            size,
            start,
            learning_rate(config.train, round_number, config.run.rounds),
        )

    def faults(
        self, norms: Mapping[str, float], extras: Mapping[str, float], images: Mapping[str, int]
    ) -> dict[str, str]:
        """Return {store: fault in words} for the updates that are too large.

        Args:
            norms: of the change by training, by store
            extras: norm of the largest tensor beside the parameters, by store
            images: those that each store counts for
        """
        if not self.config.screening.norm_factor:
            return {}
        reasons = {}
        for store, norm in norms.items():
            most = self.of_order(images[store])
            most_beside = self.of_order(images[store], least=1.0)
            if norm > most:
                reasons[store] = _beyond("an update", norm, most)
            elif extras[store] > most_beside:
                reasons[store] = _beyond("extras", extras[store], most_beside)
        rest = {store: norm for store, norm in norms.items() if store not in reasons}
        return reasons | self._beside_others(rest, images)

    def of_order(self, images: int, least: float = 0.0) -> float:
        """Return a norm that no training on this many images can exceed.

        It is generous, as gradients have no bound.

        least: distance in each coordinate that steps count for at least; 1 for tensors that are
               like a gradient, not like a change of parameters
        """
        train = self.config.train
        momentum = train.momentum if train.optimizer == "sgd" else 0.0
        carried = normalized_steps(self.config.most_steps(images), self.lr, momentum)
        return OF_ORDER * (self.start + max(carried, least) * sqrt(self.size))

    def _beside_others(
        self, norms: Mapping[str, float], images: Mapping[str, int]
    ) -> dict[str, str]:
        """Return the updates that are too large for their cohort.

        In a small cohort, those that are too large for the rounds before.
        """
        limit = self.config.screening.norm_factor
        where = "is usual in its cohort"
        if self.config.data.dataset != STORES_OWN and len(norms) >= MIN_UPDATES_FOR_MEDIAN:
            times = too_large(norms, images, limit)  # a simulation's numbers of images are true
        else:
            # of two, nobody knows which one is usual
            at_hand = usual(norms) if len(norms) > 2 else 0.0
            usually = max(at_hand, self.earlier.most)
            if len(norms) < MIN_UPDATES_FOR_MEDIAN:
                limit *= LENIENT
                where = where if at_hand == usually else BEFORE
            times = {
                store: norm / usually
                for store, norm in norms.items()
                if usually and norm > limit * usually
            }
        advice = (
            "; if its photos are as they were, training diverges: a new run may take a lower"
            " train.lr"
        )
        hint = f"{advice}, or train.clip_norm" if where == BEFORE else ""
        return {
            store: (
                f"has an update {found:.1f} times as large as {where}; {limit:g} times is allowed"
                f" (screening.norm_factor, which a restart may change){hint}"
            )
            for store, found in times.items()
        }


def _beyond(what: str, norm: float, most: float) -> str:
    found = f"{norm:.3g}" if isfinite(norm) else "beyond 1e19"
    return (
        f"has {what} of norm {found}, where its order allows {most:.3g} (by steps, learning rate"
        " and the model's size; a restart with screening.norm_factor=0 allows any)"
    )
