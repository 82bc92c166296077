"""Whether a store's update teaches what the store's labels say, as the server's test images show.

Of a store that has classes a and b, training raises the score of a against b on images of a, more than on those of b.
How much it raises both differs with the mix of classes, and is left out: only the order of the images counts. Single
rounds say little, so that the scores are averaged over the rounds in which a store was looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

OWNED, FEW = 0.5, 20  # a store has a class with this share of what an even mix would have, and at least so many images
ALONE = 0.8  # share of its images from which one class alone is enough to look at a store
KNOWS = 1.6  # times as many images as by chance the global model has to know: before, honest updates err as well
MOST_CLASSES = 10  # of a store's, its most frequent ones
KEPT = 3  # pairs of classes of a store that are followed from round to round
REMEMBERED, ENOUGH = 10, 3  # rounds of a mean; of fewer than ENOUGH it counts as if the missing ones were 0
EXCHANGED = 2.25  # standard deviations of a mean rank below 0 from which two classes look exchanged
WRONG = -0.23  # labels' score from which they look wrong

Floats = NDArray[np.float64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Effect:
    """What one update does to the order of the test images.

    pairs:  by two classes (a < b) that the store has: by how much more than by chance an image of a is before one of b
            in the order of what is gained for a against b, and in that of the new scores; from -0.5 to 0.5
    leads:  by class that the store has, by how much the mean place (0 to 1) of its images in the order of what is
            gained for it is before that of the class that is first; of one class alone, plus how far it is before all
    shares: of the images of these classes, by class
    """

    pairs: Mapping[Pair, float] = field(default_factory=dict)
    leads: Mapping[int, float] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)

    @property
    def labels(self) -> float:
        """The mean of its pairs plus that of its leads, by images; from -1.5 to 1.5. There must be leads."""
        weights = {(a, b): self.shares[a] * self.shares[b] for a, b in self.pairs}
        together = sum(weights[pair] * score for pair, score in self.pairs.items()) / (sum(weights.values()) or 1)
        return together + sum(self.shares[label] * lead for label, lead in self.leads.items())


def knows(before: Floats, targets: NDArray[np.int64]) -> bool:
    """Return whether a model knows enough to see by it what updates do. before, targets: as `effect` takes them"""
    return bool((before.argmax(axis=1) == targets).mean() * before.shape[1] >= KNOWS)


def classes_of(counts: Floats) -> list[int]:
    """The classes of which a store has a fair number of images; one alone only if it has hardly any of others.

    counts: [C]
    """
    fair = np.maximum(FEW, OWNED * counts.sum() / len(counts))
    most = np.argsort(-counts, kind="stable")[:MOST_CLASSES]
    own = sorted(int(label) for label in most if counts[label] >= fair)
    return own if len(own) > 1 or counts[own].sum() >= ALONE * counts.sum() else []


def effect(before: Floats, after: Floats, targets: NDArray[np.int64], counts: Floats) -> Effect:
    """The effect of an update on N images: log-likelihoods [N, C] before and after, their true classes [N].

    counts: [C], training images of each class that the store says it has. Of classes that it has and the images have
    not, nothing is said.
    """
    there = np.bincount(targets, minlength=len(counts)) > 0
    own = [label for label in classes_of(counts) if there[label]]
    if not own or there.sum() < 2:
        return Effect()
    gained = after - before
    pairs = {}
    for a, b in combinations(own, 2):
        of_a, of_b = targets == a, targets == b
        orders = gained[:, a] - gained[:, b], after[:, a] - after[:, b]
        pairs[a, b] = sum(ahead(order[of_a], order[of_b]) for order in orders) / 2
    contrast = _contrast(gained, own)
    leads = dict(zip(own, _lead(contrast, targets, own), strict=True))
    if len(own) == 1:
        is_own = targets == own[0]
        leads[own[0]] += ahead(contrast[is_own, 0], contrast[~is_own, 0])
    total = counts[own].sum()
    return Effect(pairs, leads, {label: float(counts[label] / total) for label in own})


def ahead(some: Floats, others: Floats) -> float:
    """P(one of `some` > one of `others`) - 1/2, ties counting half: the area under the ROC curve, less a half."""
    places = _ranks(np.concatenate([some, others]))[: len(some)].sum()
    return float((places - len(some) * (len(some) + 1) / 2) / (len(some) * len(others)) - 0.5)


def _contrast(gained: Floats, own: Sequence[int]) -> Floats:
    """[N, K]: what is gained for each own class against the others, or for a single one against all classes."""
    of_own = gained[:, own]
    others = of_own.sum(axis=1, keepdims=True) - of_own
    if len(own) == 1:
        others, count = np.delete(gained, own, axis=1).sum(axis=1, keepdims=True), gained.shape[1] - 1
    else:
        count = len(own) - 1
    contrast: Floats = of_own - others / count
    return contrast


def _lead(contrast: Floats, targets: NDArray[np.int64], own: Sequence[int]) -> list[float]:
    """Of each own class [K], by how much its images' mean rank in `contrast` [N, K] (0 to 1) exceeds the highest of
    another class's.
    """
    leads = []
    for place, label in enumerate(own):
        ranks = (_ranks(contrast[:, place]) - 0.5) / len(targets)
        means = {int(true): float(ranks[targets == true].mean()) for true in np.unique(targets)}
        own_mean = means.pop(label)
        leads.append(own_mean - max(means.values()))
    return leads


def _ranks(values: Floats) -> Floats:
    """Ranks from 1 on; equal values share theirs."""
    _, places, times = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(times)
    ranks: Floats = (last - (times - 1) / 2)[places]
    return ranks


@dataclass(frozen=True)
class Evidence:
    """The effects of a store's updates, averaged over its last rounds.

    rounds: how many count, at most REMEMBERED: older ones fade
    pairs:  of the KEPT worst pairs
    """

    rounds: int = 0
    labels: float = 0.0
    pairs: Mapping[Pair, float] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> "Evidence":
        """As a line of the history has it."""
        if not told:
            return cls()
        return cls(told["rounds"], told["labels"], {(a, b): score for a, b, score in told["pairs"]})

    def in_record(self) -> dict[str, Any]:
        """For a line of the history."""
        pairs = [[a, b, round(score, 4)] for (a, b), score in sorted(self.pairs.items())]
        return {"rounds": self.rounds, "labels": round(self.labels, 4), "pairs": pairs}

    def after(self, found: Effect) -> "Evidence":
        """The same after one more update. A pair that was not followed counts 0 in earlier rounds."""
        if not found.leads:
            return self
        rounds = min(self.rounds + 1, REMEMBERED)
        pairs = {pair: _moved(self.pairs.get(pair, 0.0), score, rounds) for pair, score in found.pairs.items()}
        worst = sorted(pairs, key=lambda pair: pairs[pair])[:KEPT]
        return Evidence(rounds, _moved(self.labels, found.labels, rounds), {pair: pairs[pair] for pair in worst})

    def exchanged(self, images: Sequence[int]) -> Pair | None:
        """The two classes that look exchanged. images: of each class among the test images"""
        limits = {(a, b): -EXCHANGED * chance(images[a], images[b]) for a, b in self.pairs}
        worst = min(self.pairs, key=lambda pair: self.pairs[pair] / -limits[pair], default=None)
        return worst if worst is not None and self._weight * self.pairs[worst] < limits[worst] else None

    @property
    def is_wrong(self) -> bool:
        """Whether labels look wrong."""
        return self._weight * self.labels < WRONG

    @property
    def _weight(self) -> float:
        return min(1.0, self.rounds / ENOUGH)


def chance(some: int, others: int) -> float:
    """Standard deviation of `ahead` for images in random order (Mann and Whitney 1947)."""
    return sqrt((some + others + 1) / (12 * some * others))


def _moved(mean: float, value: float, rounds: int) -> float:
    return mean + (value - mean) / rounds
