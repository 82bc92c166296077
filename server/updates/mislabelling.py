"""Whether a store's labels mean what they mean on the server's test images, as its training of the head shows.

Gradient descent moves the head's row of label l, over images with features h and probabilities p, by a multiple of

    sum over images labelled l of (1 - p_l) h  -  sum over all other images of p_l h

so that the difference of two labels' rows points from the mean features of the images with one label towards those of
the images with the other. What classes' mean features are, and how features scatter, the test images tell; so each
label's images can be said to look like this class or that. All of a store's images have a part in it, so that it shows
while the model still knows little. It is averaged over rounds all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

OWNED, FEW = 0.5, 10  # a store has a class with this share of what an even mix would have, and at least so many images
MIN_SHARE_OF_ONE_CLASS = 0.5  # share of its images from which one class alone is enough to look at a store
MAX_CLASSES_OF_STORE = 10  # of a store's, its most frequent ones
SHOWN = 20  # test images from which it is known what a class looks like
FEATURE_RIDGE = 3.0  # added to the variance of features in each direction: so many times its mean over all directions
MAX_FOLLOWED_CLASSES = 5  # other classes that a label is followed for from round to round
MEAN_ROUNDS = 10  # rounds of a mean
EXCHANGED_SCORE, WRONG_SCORE = -0.3, -0.26  # scores below which two classes look exchanged, and labels wrong

Floats = NDArray[np.float64]
Pair = tuple[int, int]
Likeness = Mapping[int, Mapping[int, float]]  # of a label's images -> to a class: a cosine


@dataclass(frozen=True)
class Looks:
    """What the classes look like to a model, d features.

    whiten:     [d, d], makes features scatter alike in all directions within classes, but for the ridge
    common:     [d], unit vector along the mean of the classes' whitened means
    directions: class -> [d], unit vector along its whitened mean less `common`'s part
    """

    whiten: Floats
    common: Floats
    directions: Mapping[int, Floats]

    @classmethod
    def of(cls, features: Floats, targets: NDArray[np.int64]) -> "Looks | None":
        """By the features [N, d] of N images of known classes [N]; None if fewer than two have SHOWN images, or
        a feature is not finite.
        """
        labels = [int(label) for label, images in enumerate(np.bincount(targets)) if images >= SHOWN]
        if len(labels) < 2 or not np.isfinite(features).all():
            return None
        means = np.stack([features[targets == label].mean(axis=0) for label in labels])
        apart = np.concatenate([features[targets == label] - mean for label, mean in zip(labels, means, strict=True)])
        covariance = apart.T @ apart / len(apart)
        covariance += max(FEATURE_RIDGE * float(np.diag(covariance).mean()), 1e-12) * np.eye(len(covariance))
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        means = means @ whiten.T
        common = _unit(means.mean(axis=0))
        directions = [_unit(_without(mean, common)) for mean in means - means.mean(axis=0)]
        return cls(whiten, common, dict(zip(labels, directions, strict=True)))

    def likeness(self, change: Floats, counts: Floats) -> Likeness:
        """Of each label that a store has, how much its images look like each class: from -1 to 1.

        change: [C, d], by which training changed the head; where it changed nothing, nothing is said
        counts: [C], training images of each class that the store says it has
        """
        own = [label for label in classes_of(counts) if label in self.directions]
        rows = _without(change @ self.whiten.T, self.common)
        found = {}
        for label in own:
            others = [other for other in own if other != label] or [o for o in range(len(rows)) if o != label]
            contrast = rows[label] - rows[others].mean(axis=0)
            if contrast.any():
                direction = _unit(contrast)
                found[label] = {like: float(direction @ along) for like, along in self.directions.items()}
        return found


def classes_of(counts: Floats) -> list[int]:
    """The classes of which a store has a fair number of images; one alone only if it has fewer of all others.

    counts: [C]
    """
    fair = np.maximum(FEW, OWNED * counts.sum() / len(counts))
    most = np.argsort(-counts, kind="stable")[:MAX_CLASSES_OF_STORE]
    own = sorted(int(label) for label in most if counts[label] >= fair)
    return own if len(own) > 1 or counts[own].sum() >= MIN_SHARE_OF_ONE_CLASS * counts.sum() else []


@dataclass(frozen=True)
class LabelEvidence:
    """What a store's images look like, averaged over its last rounds.

    rounds:   how many count, at most MEAN_ROUNDS: older ones fade
    likeness: of each of its labels, to the class of that name and the KEPT others that it is most like
    """

    rounds: int = 0
    likeness: Likeness = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> "LabelEvidence":
        """As a line of the history has it; one of an earlier version says nothing."""
        if not told or "likeness" not in told:
            return cls()
        return cls(told["rounds"], {label: dict(likes) for label, likes in told["likeness"]})

    def in_record(self) -> dict[str, Any]:
        """For a line of the history."""
        likeness = [
            [label, [[like, round(score, 4)] for like, score in sorted(likes.items())]]
            for label, likes in sorted(self.likeness.items())
        ]
        return {"rounds": self.rounds, "likeness": likeness}

    def after(self, seen: Likeness) -> "LabelEvidence":
        """The same after one more update. What was not followed counts 0 in earlier rounds."""
        if not seen:
            return self
        rounds = min(self.rounds + 1, MEAN_ROUNDS)
        means = {}
        for label, likes in seen.items():
            earlier = self.likeness.get(label, {})
            moved = {like: _moved(earlier.get(like, 0.0), score, rounds) for like, score in likes.items()}
            others = sorted((like for like in moved if like != label), key=lambda like: -moved[like])
            means[label] = {like: moved[like] for like in (label, *others[:MAX_FOLLOWED_CLASSES])}
        return LabelEvidence(rounds, means)

    def exchanged(self) -> Pair | None:
        """The two classes that look exchanged: both look more like the other, in the mean by EXCHANGED."""
        scores = {}
        for a, b in combinations(sorted(self.likeness), 2):
            if b in self.likeness[a] and a in self.likeness[b]:
                ahead = self._ahead(a, b), self._ahead(b, a)
                if max(ahead) < 0 and sum(ahead) / 2 < EXCHANGED_SCORE:
                    scores[a, b] = sum(ahead)
        return min(scores, key=lambda pair: scores[pair], default=None)

    def is_wrong(self, counts: Floats) -> bool:
        """Whether labels look wrong: by how much their images look more like the class of that name than like any
        other, in the mean over images. counts: as `Looks.likeness` takes them
        """
        labels = list(self.likeness)
        if not labels or not counts[labels].sum():
            return False
        leads = [min(self._ahead(label, other) for other in self.likeness[label] if other != label) for label in labels]
        return float(np.average(leads, weights=counts[labels])) < WRONG_SCORE

    def _ahead(self, label: int, other: int) -> float:
        return self.likeness[label][label] - self.likeness[label][other]


def _unit(vector: Floats) -> Floats:
    """The same direction with length 1; 0 stays 0."""
    length = float(np.linalg.norm(vector))
    unit: Floats = vector / length if length else vector
    return unit


def _without(vectors: Floats, unit: Floats) -> Floats:
    """What is left of vectors [..., d] across from a unit vector [d]."""
    left: Floats = vectors - (vectors @ unit)[..., None] * unit
    return left


def _moved(mean: float, value: float, rounds: int) -> float:
    return mean + (value - mean) / rounds
