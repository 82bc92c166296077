"""Attack on the photos of a store: was a given one there, and which of many were?

The server trains on each candidate photo alone, as the store would, and compares the direction of
this change with that of the store's update. It calibrates the comparison on updates of its own
making, with and without the candidate: Carlini et al., "Membership Inference Attacks From First
Principles" (IEEE S&P 2022), with the alignment of updates in place of the loss.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from fedshelf.common.metrics.proportions import Z_95
from fedshelf.common.seeding import rng
from fedshelf.simulations.reveal.server_view import Photos, ServerView
from fedshelf.simulations.reveal.statistics import auc, epsilon_bound, hits_at

TRIALS = 16  # updates of random halves of the candidates
NAMING_TRIALS = 4  # updates of so few photos, for each number of photos
FALSE_ALARMS = 0.01
# Trials calibrate each other: each two of them have a part in common in both their areas. So where
# nothing is revealed, the variance of the mean is twice that of independent areas.
_TOGETHER = math.sqrt(2)


@dataclass(frozen=True)
class MembershipResult:
    """Success of the attacks, as means over trials.

    Attributes:
        images: training images of the store
        auc: probability that a photo of the store looks more like one than another photo
        auc_interval: its 95% interval, over updates of these photos
        hits: share of the store's photos found at 1% false alarms
        epsilon: the median over trials of what differential privacy cannot be better than
        named: photos of an update -> the share of them among as many best guesses
        candidates: number of photos that the server chooses from
    """

    images: int
    auc: float
    auc_interval: tuple[float, float]
    hits: float
    epsilon: float
    named: Mapping[int, float]
    candidates: int


def measure_membership(
    view: ServerView, images: int, seed: int, done: Callable[[int, int], object]
) -> MembershipResult:
    """Attack updates of a store with `images` photos, and of stores with very few.

    Args:
        view: the server's view; its pool has at least twice as many photos
        images: training images of the store
        seed: of the choice of photos
        done: called with (trainings done, trainings in all)
    """
    random = rng(seed, "reveal", "membership")
    candidates = draw_candidates(view, images, seed)
    half = len(candidates) // 2
    sets = [random.permutation(len(candidates))[:half] for _ in range(TRIALS)]
    few = [size for size in (1, 8, 64) if size <= half]
    small_sets = [
        (size, random.permutation(len(candidates))[:size])
        for size in few
        for _ in range(NAMING_TRIALS)
    ]
    total = len(sets) + len(small_sets) + len(candidates)
    changes = []
    for number, chosen in enumerate([*sets, *(chosen for _, chosen in small_sets)]):
        changes.append(view.received(candidates[chosen]))
        done(number + 1, total)
    updates = functional.normalize(torch.stack(changes))
    alignment = np.empty((len(updates), len(candidates)))
    for number, candidate in enumerate(candidates):
        alone = view.alone(int(candidate))
        alignment[:, number] = (updates @ functional.normalize(alone, dim=0)).double().numpy()
        done(len(updates) + number + 1, total)
    members = np.zeros((TRIALS, len(candidates)), dtype=np.bool_)
    for trial, chosen in enumerate(sets):
        members[trial, chosen] = True
    scores = _calibrated(alignment[:TRIALS], members)
    named: dict[int, list[float]] = {}
    usual = alignment[:TRIALS].mean(axis=0), alignment[:TRIALS].std(axis=0) + 1e-12
    for (size, chosen), aligned in zip(small_sets, alignment[TRIALS:], strict=True):
        best = np.argsort(-(aligned - usual[0]) / usual[1], kind="stable")[:size]
        named.setdefault(size, []).append(len(set(best) & set(chosen)) / size)
    areas = np.array([auc(*pair) for pair in zip(scores, members, strict=True)])
    area = float(areas.mean())
    margin = Z_95 * _TOGETHER * float(areas.std(ddof=1)) / math.sqrt(len(areas))
    return MembershipResult(
        images=half,
        auc=area,
        auc_interval=(area - margin, area + margin),
        hits=float(
            np.mean([hits_at(*pair, FALSE_ALARMS) for pair in zip(scores, members, strict=True)])
        ),
        epsilon=float(
            np.median([epsilon_bound(*pair) for pair in zip(scores, members, strict=True)])
        ),
        named={size: float(np.mean(shares)) for size, shares in named.items()},
        candidates=len(candidates),
    )


def draw_candidates(view: ServerView, images: int, seed: int) -> Photos:
    """Return the photos among which the server looks for those of a store with `images` photos."""
    return rng(seed, "reveal", "candidates").permutation(len(view.pool))[: 2 * images]


def _calibrated(alignment: NDArray[np.float64], members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how much more likely each candidate is a member than not, float64 [T, N].

    The other trials tell the usual alignment of each candidate as a member and as none.

    Args:
        alignment: float64 [T, N]
        members: bool [T, N]
    """
    scores = np.empty_like(alignment)
    for trial in range(len(alignment)):
        others = np.arange(len(alignment)) != trial
        inside = _means(alignment[others], members[others])
        outside = _means(alignment[others], ~members[others])
        spread = alignment[others].std(axis=0) + 1e-12
        middle = (inside + outside) / 2
        scores[trial] = (alignment[trial] - middle) * (inside - outside) / spread**2
    return scores


def _means(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of the chosen values of each column; of all where none is chosen."""
    counts = chosen.sum(axis=0)
    sums = np.where(chosen, values, 0).sum(axis=0)
    means: NDArray[np.float64] = np.where(
        counts > 0, sums / np.maximum(counts, 1), values.mean(axis=0)
    )
    return means
