"""Differential privacy of a store: clipped updates, and a clipping norm that follows them.

The change of the model at each store is scaled to an L2 norm of at most S. The sum of all changes
gets Gaussian noise of standard deviation z S in each coordinate, and is divided by the expected
number n of stores in a round (McMahan, Ramage, Talwar and Zhang 2018, "Learning differentially
private recurrent language models", Algorithm 1, with the estimator of fixed denominator):

    mean = (sum_i d_i min(1, S / |d_i|) + N(0, (z S)^2)) / n

One store moves the sum by at most S, whatever it sends, so each round is a Gaussian mechanism of
noise z. If nobody knows which S is right, it follows the quantile of the norms at a share gamma
(Andrew, Thakkar, McMahan and Ramaswamy 2021, "Differentially private learning with adaptive
clipping", Algorithm 1), with b_i = 1 if |d_i| <= S, else 0:

    share = (sum_i (b_i - 1/2) + N(0, sigma_b^2)) / n + 1/2,   S <- S exp(-eta (share - gamma))

Each round then tells two noised sums. Together they cost as much as one sum with noise z, if the
changes get the noise (z^-2 - (2 sigma_b)^-2)^(-1/2) (Theorem 1 there).
"""

import math
from dataclasses import dataclass

FIRST_CLIP = 0.1  # S of the first round, and the rate eta: Andrew et al. 2021, Section 3
CLIP_RATE = 0.2
COUNT_NOISE_SHARE = 0.05  # sigma_b is n / 20 (there)


@dataclass(frozen=True)
class SumNoise:
    """The noise of one round's sums.

    Attributes:
        changes: of the sum of changes, as a multiple of S
        count: sigma_b, of the count of small changes; None: S is fixed and nothing is counted
    """

    changes: float
    count: float | None = None


def split_noise(noise: float, expected: float, *, adaptive: bool) -> SumNoise:
    """Return the noise of each sum, so that together they cost as much as one of noise `noise`.

    The count of few stores gets more noise than n / 20: with sigma_b = z, the changes get 1.15 z.

    Args:
        noise: z, above 0
        expected: n, number of stores expected in the round
        adaptive: whether small changes are counted

    >>> split_noise(1.0, 200, adaptive=True)
    SumNoise(changes=1.0012523486435176, count=10.0)
    """
    assert noise > 0, noise
    if not adaptive:
        return SumNoise(noise)
    count = max(COUNT_NOISE_SHARE * expected, noise)
    return SumNoise((noise**-2 - (2 * count) ** -2) ** -0.5, count)


def clip_factor(norm: float, clip: float) -> float:
    """Return the factor that scales a change of L2 norm `norm` to at most `clip`.

    >>> clip_factor(4.0, 1.0), clip_factor(0.5, 1.0)
    (0.25, 1.0)
    """
    return clip / norm if norm > clip else 1.0


def next_clip(clip: float, small: float, quantile: float) -> float:
    """Return S of the next round.

    Args:
        clip: S of this round
        small: noised share of the changes whose norm is at most S
        quantile: gamma, the share that is aimed at
    """
    return clip * math.exp(-CLIP_RATE * (small - quantile))


def signal_to_noise(expected: float, noise: float, coordinates: int) -> float:
    """Return the largest ratio of a round's sum to the L2 norm of its noise: n / (z sqrt(T)).

    It is reached if all stores send the same change, of norm S. Below 1, noise is most of what
    moves the model.

    Args:
        expected: n, number of stores expected in the round
        noise: z of the changes
        coordinates: T, number of trained weights

    >>> round(signal_to_noise(30, 1.0, 62_006), 2)
    0.12
    """
    return expected / (noise * math.sqrt(coordinates))


def default_delta(stores: int) -> float:
    """Return delta for a number of stores: 1 / stores^1.1 (McMahan et al. 2018), at most 1e-3.

    It has to be well below 1 / stores: a mechanism that tells all of one store, drawn at random,
    has a delta of that.
    """
    return float(min(1e-3, stores**-1.1))
