"""Success of guesses of membership: AUC, hits at few false alarms, a lower bound of epsilon."""

import math

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
DELTA = 1e-5
_GUESSES = (10, 20, 50, 100, 200, 500, 1000, 2000)  # numbers of surest guesses that are tried
_BISECTIONS = 40
_MAX_EPSILON = 20.0

Scores = NDArray[np.float64]
Members = NDArray[np.bool_]


def auc(scores: Scores, members: Members) -> float:
    """Return the probability that a member has a higher score than another: 0.5 is guessing.

    Args:
        scores: float64 [N]
        members: bool [N], some of each kind
    """
    order = scores.argsort(kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    inside = int(members.sum())
    outside = len(members) - inside
    return float((ranks[members].sum() - inside * (inside + 1) / 2) / (inside * outside))


def hits_at(scores: Scores, members: Members, false_alarms: float) -> float:
    """Return the share of members above the score that so many of the others pass.

    Args:
        scores: float64 [N]
        members: bool [N]
        false_alarms: share of the others, 0 to 1
    """
    limit = np.quantile(scores[~members], 1 - false_alarms)
    return float((scores[members] > limit).mean())


def epsilon_bound(scores: Scores, members: Members) -> float:
    """Return a lower bound of epsilon that holds with a probability of 95%, at delta 1e-5.

    Of the surest guesses "member" and as many "not", so many are right that a mechanism with a
    smaller epsilon would hardly allow it: Steinke, Nasr and Jagielski, "Privacy Auditing with One
    (1) Training Run" (NeurIPS 2023), Theorem 5.2. The best of a few numbers of guesses is taken,
    with Bonferroni's correction.

    Args:
        scores: float64 [N], high for members
        members: bool [N], each drawn by itself with a probability of one half
    """
    order = scores.argsort(kind="stable")
    tried = [guesses for guesses in _GUESSES if 2 * guesses <= len(scores)]
    best = 0.0
    for guesses in tried:
        surest = int(members[order[-guesses:]].sum())
        right = surest + int((~members[order[:guesses]]).sum())
        level = (1 - CONFIDENCE) / len(tried)
        if _p_value(len(scores), 2 * guesses, right, 0.0) > level:
            continue
        low, high = 0.0, _MAX_EPSILON
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            if _p_value(len(scores), 2 * guesses, right, middle) < level:
                low = middle
            else:
                high = middle
        best = max(best, low)
    return best


def _p_value(images: int, guesses: int, right: int, epsilon: float) -> float:
    """Return the probability of at least `right` right guesses if epsilon held.

    Theorem 5.2 of the source, with m = `images`, r = `guesses` and v = `right`.
    """
    share = min(1 / (1 + math.exp(-epsilon)), 1 - 1e-15)
    masses = [math.exp(_log_binomial(count, guesses, share)) for count in range(guesses + 1)]
    beyond = sum(masses[right:])
    slope = total = 0.0
    for count in range(1, right + 1):
        total += masses[right - count]
        slope = max(slope, total / count)
    return min(1.0, beyond + slope * DELTA * 2 * images)


def _log_binomial(count: int, trials: int, share: float) -> float:
    """Return the logarithm of the binomial probability of `count` successes."""
    ways = math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
    return ways + count * math.log(share) + (trials - count) * math.log1p(-share)
