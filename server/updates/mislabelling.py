"""Evidence on the correctness of a store's labels.

It comes from the store's training of the head and from the server's test images.

Gradient descent moves the head's row of label l, over images with features h and probabilities p,
by a multiple of

    sum over images labelled l of (1 - p_l) h  -  sum over all other images of p_l h

so the difference of two labels' rows points from the mean features of the images with one label
towards those of the images with the other. The test images show the mean features of the classes,
and how features scatter; so we can say which class each label's images look like. All of a store's
images contribute, so this works while the model still knows little. It is averaged over rounds all
the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A store has a class if it has at least OWNED times an even mix's images of it, and at least FEW.
OWNED = 0.5
FEW = 10
# a store with one class only is examined if this share of its images is of it
MIN_SHARE_OF_ONE_CLASS = 0.5
MAX_CLASSES_OF_STORE = 10  # the store's most frequent ones
SHOWN = 20  # test images that are enough to know the mean features of a class
# added to the features' variance in each direction, in units of its mean over directions
FEATURE_RIDGE = 3.0
MAX_FOLLOWED_CLASSES = 5  # other classes whose likeness to a label is kept from round to round
MEAN_ROUNDS = 10  # rounds that a mean covers
# below these scores, two classes look exchanged, and labels wrong, whatever other layers say ...
EXCHANGED_SCORE = -0.3
WRONG_SCORE = -0.26
DOUBT_SCORE = -0.15  # ... and below this score of either there is reason to ask other layers

Floats = NDArray[np.float64]
Pair = tuple[int, int]
Likeness = Mapping[int, Mapping[int, float]]  # of a label's images -> to a class: a cosine


@dataclass(frozen=True)
class Looks:
    """The appearance of the classes to a model, in d features.

    Attributes:
        whiten: [d, d], makes features scatter alike in all directions within classes, except for
            the ridge
        common: [d], unit vector along the mean of the classes' whitened means
        directions: class -> [d], unit vector along its whitened mean without the part along
            `common`
    """

    whiten: Floats
    common: Floats
    directions: Mapping[int, Floats]

    @classmethod
    def of(cls, features: Floats, targets: NDArray[np.int64]) -> "Looks | None":
        """Build it from the features [N, d] of N images of known classes, targets int64 [N].

        Returns None if fewer than two classes have SHOWN images, or if a feature is not finite.
        """
        labels = [
            int(label) for label, images in enumerate(np.bincount(targets)) if images >= SHOWN
        ]
        if len(labels) < 2 or not np.isfinite(features).all():
            return None
        means = np.stack([features[targets == label].mean(axis=0) for label in labels])
        apart = np.concatenate(
            [features[targets == label] - mean for label, mean in zip(labels, means, strict=True)]
        )
        covariance = apart.T @ apart / len(apart)
        covariance += max(FEATURE_RIDGE * float(np.diag(covariance).mean()), 1e-12) * np.eye(
            len(covariance)
        )
        whiten = np.linalg.inv(np.linalg.cholesky(covariance))
        means = means @ whiten.T
        common = _unit(means.mean(axis=0))
        directions = [_unit(_without(mean, common)) for mean in means - means.mean(axis=0)]
        return cls(whiten, common, dict(zip(labels, directions, strict=True)))

    def likeness(self, change: Floats, counts: Floats) -> Likeness:
        """Return how much a store's images of each label look like each class: -1 to 1.

        These are cosines.

        Labels whose rows training did not change are left out.

        Args:
            change: [C, d], change of the head by training
            counts: [C], training images of each class that the store says it has
        """
        own = [label for label in classes_of(counts) if label in self.directions]
        rows = _without(change @ self.whiten.T, self.common)
        likeness = {}
        for label in own:
            others = [other for other in own if other != label] or [
                o for o in range(len(rows)) if o != label
            ]
            contrast = rows[label] - rows[others].mean(axis=0)
            if contrast.any():
                direction = _unit(contrast)
                likeness[label] = {
                    like: float(direction @ along) for like, along in self.directions.items()
                }
        return likeness


def classes_of(counts: Floats) -> list[int]:
    """Return the classes of which a store has a fair number of images.

    One class alone is returned only if the store has fewer images of all the others together.

    Args:
        counts: [C], the store's training images
    """
    fair = np.maximum(FEW, OWNED * counts.sum() / len(counts))
    most = np.argsort(-counts, kind="stable")[:MAX_CLASSES_OF_STORE]
    own = sorted(int(label) for label in most if counts[label] >= fair)
    return own if len(own) > 1 or counts[own].sum() >= MIN_SHARE_OF_ONE_CLASS * counts.sum() else []


@dataclass(frozen=True)
class LabelEvidence:
    """The classes that a store's images look like, averaged over its last rounds.

    Attributes:
        rounds: number of rounds that count, at most MEAN_ROUNDS; older ones fade
        likeness: label -> class -> mean cosine: for the class of that name, and for the
            MAX_FOLLOWED_CLASSES others that its images look most like
    """

    rounds: int = 0
    likeness: Likeness = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "LabelEvidence":
        """Read the evidence from a line of the history; a line of an earlier version has none."""
        if not record or "likeness" not in record:
            return cls()
        return cls(record["rounds"], {label: dict(likes) for label, likes in record["likeness"]})

    def to_record(self) -> dict[str, Any]:
        """Return the evidence for a line of the history."""
        likeness = [
            [label, [[like, round(score, 4)] for like, score in sorted(likes.items())]]
            for label, likes in sorted(self.likeness.items())
        ]
        return {"rounds": self.rounds, "likeness": likeness}

    def after(self, seen: Likeness) -> "LabelEvidence":
        """Return the evidence after one more update.

        A class that was not followed counts 0 in earlier rounds.
        """
        if not seen:
            return self
        rounds = min(self.rounds + 1, MEAN_ROUNDS)
        means = {}
        for label, likes in seen.items():
            earlier = self.likeness.get(label, {})
            moved = {
                like: _moved(earlier.get(like, 0.0), score, rounds) for like, score in likes.items()
            }
            others = sorted(
                (like for like in moved if like != label), key=lambda like: -moved[like]
            )
            means[label] = {like: moved[like] for like in (label, *others[:MAX_FOLLOWED_CLASSES])}
        return LabelEvidence(rounds, means)

    def exchange_candidate(self) -> tuple[Pair, float] | None:
        """Return the two classes that look exchanged most, and how much; None: none do.

        The images of both look more like the other class. The score is their lead over it in the
        mean of both, less than DOUBT_SCORE.
        """
        scores = {}
        for a, b in combinations(sorted(self.likeness), 2):
            if b in self.likeness[a] and a in self.likeness[b]:
                ahead = self._ahead(a, b), self._ahead(b, a)
                if max(ahead) < 0 and sum(ahead) / 2 < DOUBT_SCORE:
                    scores[a, b] = sum(ahead) / 2
        return min(scores.items(), key=lambda item: item[1], default=None)

    def lead(self, counts: Floats) -> float:
        """Return the lead of right labels: their likeness less that of the most like other class.

        It is the mean over the images of the store, and 0 if nothing is known of them.

        Args:
            counts: [C], as in `Looks.likeness`
        """
        labels = list(self.likeness)
        if not labels or not counts[labels].sum():
            return 0.0
        leads = [
            min(self._ahead(label, other) for other in self.likeness[label] if other != label)
            for label in labels
        ]
        return float(np.average(leads, weights=counts[labels]))

    def _ahead(self, label: int, other: int) -> float:
        return self.likeness[label][label] - self.likeness[label][other]


def _unit(vector: Floats) -> Floats:
    """Return the vector [d] scaled to length 1; 0 stays 0."""
    length = float(np.linalg.norm(vector))
    unit: Floats = vector / length if length else vector
    return unit


def _without(vectors: Floats, unit: Floats) -> Floats:
    """Return the vectors [..., d] without their part along a unit vector [d]."""
    left: Floats = vectors - (vectors @ unit)[..., None] * unit
    return left


def _moved(mean: float, value: float, rounds: int) -> float:
    return mean + (value - mean) / rounds
