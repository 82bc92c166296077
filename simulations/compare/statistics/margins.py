"""Margins of a difference between two kinds of models, due to training and to test images.

A difference is measured in S seeds, each of which trains both models anew and judges both on the
same images. So it varies for two reasons, and its variance has two parts:

    seeds: s^2 / S, with s the standard deviation of the S differences. Known from few seeds, so it
        counts with Student's t of S - 1 degrees of freedom.
    images: the variance over images of the mean answer to an image, averaged over the seeds, by the
        number of images; seeds that judge the same images share it, so more of them do not make it
        go away. It counts with the normal quantile z.

    margin = sqrt(t^2 seeds + z^2 images)

Both sources are random and crossed, as readers and cases are in diagnostic studies (Obuchowski and
Rockette 1995, "Hypothesis testing of diagnostic accuracy for multiple readers and multiple tests");
half-widths of independent parts are added in squares by MOVER (Zou and Donner 2008, "Construction
of confidence intervals about effect measures"). An image that is answered differently in each seed
counts in both parts, so margins are rather too wide than too narrow.

With one seed there is no first part: such a margin covers other test images, but not another
training.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist, fmean, variance
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.simulations.compare.statistics.paired_accuracy import Judged
from fedshelf.simulations.compare.statistics.students_t import cumulative, quantile

LEVEL = 0.05  # probability of a difference beyond its margin where there is none
LEAST_LEVEL = 1e-9  # smaller p-values are reported as this
BISECTION_STEPS = 50  # of the interval that holds a p-value


@dataclass(frozen=True)
class Paired:
    """Two models on the same images of one store.

    Attributes:
        store: its name
        numbers: int64 [n], the same for the same image in every seed
        wins: int64 [n], 1 where only the second model is right, -1 where only the first one is,
            else 0
    """

    store: str
    numbers: NDArray[np.int64]
    wins: NDArray[np.int64]

    @classmethod
    def of(cls, store: str, numbers: NDArray[np.int64], before: Judged, after: Judged) -> "Paired":
        """Pair the second model with the first one."""
        return cls(store, numbers, after.right.astype(np.int64) - before.right)


@dataclass(frozen=True)
class Gain:
    """The difference between the accuracies of two kinds of models, in percentage points.

    Attributes:
        seeds: the difference in each seed
        images: standard error that comes from the choice of test images
        training: standard error that comes from everything that a seed decides; None with one seed
    """

    seeds: tuple[float, ...]
    images: float
    training: float | None

    @property
    def points(self) -> float:
        """The mean over the seeds."""
        return fmean(self.seeds)

    def margin(self, level: float = LEVEL) -> float:
        """Return half the width of the interval around the difference, in percentage points.

        Args:
            level: probability that the true difference is outside of the interval
        """
        images = NormalDist().inv_cdf(1 - level / 2) * self.images
        if self.training is None:
            return images
        return math.hypot(images, quantile(1 - level / 2, len(self.seeds) - 1) * self.training)

    @cached_property
    def p(self) -> float:
        """The level at which the margin is as large as the difference.

        It is LEAST_LEVEL if the margin is smaller even there.
        """
        if not self.training:
            return max(LEAST_LEVEL, 2 - 2 * NormalDist().cdf(abs(self.points) / self.images))
        # between which Student's t of that level is
        low = 0.0
        high = abs(self.points) / self.training
        for _ in range(BISECTION_STEPS):
            middle = (low + high) / 2
            level = self._level(middle)
            margin = math.hypot(
                NormalDist().inv_cdf(1 - level / 2) * self.images, middle * self.training
            )
            low, high = (middle, high) if margin < abs(self.points) else (low, middle)
        return self._level(low)

    def _level(self, t: float) -> float:
        """Return the probability that Student's t is beyond this, in either direction."""
        return max(LEAST_LEVEL, 2 - 2 * cumulative(t, len(self.seeds) - 1))

    def to_json(self) -> dict[str, Any]:
        """Return the gain as JSON values."""
        errors = {"images": self.images, "training": self.training}
        return {
            "points": self.points,
            "margin": self.margin(),
            "seeds": list(self.seeds),
            "standard_errors": errors,
        }


def gain(seeds: Sequence[Sequence[Paired]]) -> Gain | None:
    """Return the mean gain over stores and seeds; None if no store has images.

    With wins w_j of n images, a seed's difference at a store is the sum of w_j by n. For its
    variance two images are added, one that each model alone is right about, so that few images
    prove nothing (adjusted Wald interval; Bonett and Price 2012, "Adjusted Wald confidence interval
    for a difference of binomial proportions based on paired data"). For one seed and store that is
    (p + q - (p - q)^2) / (n + 2), with p = (b + 1) / (n + 2) and q = (c + 1) / (n + 2) for b images
    that only the second model has right and c that only the first one has.

    Args:
        seeds: of each seed, its stores; those without images do not count, and all others count the
            same
    """
    pairs_with_images = [[pairs for pairs in stores if len(pairs.wins)] for stores in seeds]
    if not pairs_with_images or not all(pairs_with_images):
        return None
    differences = [
        100 * fmean(float(pairs.wins.mean()) for pairs in stores) for stores in pairs_with_images
    ]
    training = math.sqrt(variance(differences) / len(differences)) if len(differences) > 1 else None
    return Gain(tuple(differences), 100 * math.sqrt(_image_variance(pairs_with_images)), training)


def holm(levels: Sequence[float]) -> list[float]:
    """Return p-values of several questions, each corrected for all (Holm 1979).

    If those up to LEVEL are called clear, the probability of a single false one among them is LEVEL
    at most. The k-th smallest of m values counts m - k + 1 times, and none counts less than a
    smaller one. The source is Holm 1979, "A simple sequentially rejective multiple test procedure".

    Args:
        levels: the p-values of m questions
    """
    ordered = sorted(range(len(levels)), key=levels.__getitem__)
    corrected = [0.0] * len(levels)
    largest = 0.0
    for rank, index in enumerate(ordered):
        largest = max(largest, min(1.0, (len(levels) - rank) * levels[index]))
        corrected[index] = largest
    return corrected


def _image_variance(seeds: Sequence[Sequence[Paired]]) -> float:
    """Return the variance of the mean over seeds and stores that is due to the choice of images.

    Image j has the part sum over seeds of (w_j - m) / ((n + 2) stores seeds), with m the mean at
    its store; the variance is the sum of the squares. The two images added to each store are the
    same in all seeds.
    """
    image_parts = list[NDArray[np.float64]]()
    added = defaultdict[tuple[str, int], float](float)
    for stores in seeds:
        for pairs in stores:
            count = len(pairs.wins) + 2
            mean = pairs.wins.sum() / count
            share = 1 / (count * len(stores) * len(seeds))
            image_parts.append((pairs.wins - mean) * share)
            for win in (1, -1):
                added[pairs.store, win] += (win - mean) * share
    numbers = np.concatenate([pairs.numbers for stores in seeds for pairs in stores])
    _, positions = np.unique(numbers, return_inverse=True)
    sums = np.bincount(positions, np.concatenate(image_parts))
    return float((sums**2).sum()) + sum(added_part**2 for added_part in added.values())
