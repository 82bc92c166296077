"""Calibration of a model's confidence: mergeable counts by confidence, and temperature scaling.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017). The
confidence of an image is max_c softmax(z / T)_c of its scores z. T > 1 makes a model less sure, T <
1 surer, and no T changes the class that it predicts. All counts are sums over images, so no score
of an image leaves the place of the evaluation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.apportion import apportioned

BINS = 15  # bins of equal width, as in Table 1 of the paper
# 1/4 to 54 in quarter octaves; a parabola through three of them is within 1% of the result of a
# fine search.
GRID: tuple[float, ...] = tuple(2.0 ** (step / 4) for step in range(-8, 24))
# limits of an order
COOLEST = 1 / 64
HOTTEST = 64.0
MAX_TEMPERATURES = 32
# for a fit: with 20 images, all right by chance, any model looks too unsure
MIN_CALIBRATION_IMAGES = 50
PRIOR = math.log(2)  # standard deviation of the prior of log T: most models need 1/2 to 2
_QUANTILE = 1.96  # quantile of the normal distribution for 95%


@dataclass(frozen=True)
class Reliability:
    """Counts of a model's confidence and right answers at K temperatures; a commutative monoid
    under `+`.

    Bin b of BINS holds the images whose confidence is in (b / BINS, (b + 1) / BINS].

    temperatures: K of them
    nll: float64 [K], sum over images of the negative log-likelihood of the true class
    images: int64 [K, BINS]
    right: int64 [K, BINS], images classified rightly
    sure: float64 [K, BINS], sum of their confidences
    """

    temperatures: tuple[float, ...]
    nll: NDArray[np.float64]
    images: NDArray[np.int64]
    right: NDArray[np.int64]
    sure: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        temperatures: Sequence[float],
        nll: NDArray[np.float32],
        sure: NDArray[np.float32],
        is_right: NDArray[np.bool_],
    ) -> "Reliability":
        """Return the counts of N images.

        nll, sure: float32 [K, N], each image's negative log-likelihood and confidence at each
            temperature
        is_right: bool [N]
        """
        shape = (len(temperatures), BINS)
        bins = np.clip(
            np.ceil(np.nan_to_num(sure.astype(np.float64)) * BINS).astype(np.int64) - 1, 0, BINS - 1
        )
        cells = (bins + BINS * np.arange(len(temperatures))[:, None]).ravel()
        size = shape[0] * BINS
        hits = cells.reshape(sure.shape)[:, is_right].ravel()
        return cls(
            tuple(temperatures),
            nll.sum(axis=1, dtype=np.float64),
            np.bincount(cells, minlength=size).reshape(shape),
            np.bincount(hits, minlength=size).reshape(shape),
            # also of none
            np.bincount(cells, weights=sure.ravel(), minlength=size)
            .reshape(shape)
            .astype(np.float64),
        )

    def __add__(self, other: "Reliability") -> "Reliability":
        """Add counts of other images. Raises ValueError for counts at other temperatures."""
        if self.temperatures != other.temperatures:
            raise ValueError(
                f"Counts at {len(self.temperatures)} temperatures and at {len(other.temperatures)}"
                " others"
            )
        return Reliability(
            self.temperatures,
            self.nll + other.nll,
            self.images + other.images,
            self.right + other.right,
            self.sure + other.sure,
        )

    def at_most(self, images: int) -> "Reliability":
        """Return counts of at most `images` images in the same proportions, with the same means."""
        if (counted := self.num_examples) <= images:
            return self
        split = np.concatenate([self.right, self.images - self.right], axis=1)
        parts = np.stack([apportioned(row, images) for row in split])
        right = parts[:, :BINS]
        share = images / counted
        return Reliability(
            self.temperatures, self.nll * share, right + parts[:, BINS:], right, self.sure * share
        )

    @property
    def num_examples(self) -> int:
        """The number of images counted."""
        return int(self.images[0].sum()) if len(self.images) else 0

    def ece(self, place: int) -> float:
        """Return the expected calibration error at temperature `place` (Equation 3): sum_b |right_b
        - sure_b| / N.

        It is the mean difference of confidence and accuracy; nan without images.
        """
        return self._mean(np.abs(self.right[place] - self.sure[place]).sum())

    def confidence(self, place: int) -> float:
        """Return the mean confidence at temperature `place`; nan without images."""
        return self._mean(self.sure[place].sum())

    def loss(self, place: int) -> float:
        """Return the mean negative log-likelihood at temperature `place`; nan without images."""
        return self._mean(self.nll[place])

    def _mean(self, total: float) -> float:
        return float(total) / self.num_examples if self.num_examples else math.nan


@dataclass(frozen=True)
class FittedTemperature:
    """A temperature, and the interval that holds the right one with a probability of 95%."""

    temperature: float
    low: float
    high: float


def fit(counted: Reliability) -> FittedTemperature | None:
    """Return the likeliest temperature after images counted over GRID, with a normal prior on its
    logarithm.

        argmin_T sum_i -log softmax(z_i / T)_y_i + (log T / PRIOR)^2 / 2

    Many images outweigh the prior. Few and easy ones, which any smaller T makes likelier, do not.
    The minimum is the vertex of the parabola in log T through the best of the grid and its
    neighbours, and the interval follows from its curvature (Laplace's approximation: 1.96 /
    sqrt(second derivative) on either side).

    None for fewer than MIN_CALIBRATION_IMAGES images, for a likelihood that is not finite, and if
    the best is an end of the grid, as there are no counts beyond it.
    """
    assert counted.temperatures == GRID
    if counted.num_examples < MIN_CALIBRATION_IMAGES or not np.isfinite(counted.nll).all():
        return None
    logarithms = np.log(GRID)
    costs = counted.nll + (logarithms / PRIOR) ** 2 / 2
    best = int(costs.argmin())
    if best in (0, len(GRID) - 1):
        return None
    before, lowest, after = costs[best - 1 : best + 2].tolist()
    bend = before - 2 * lowest + after
    step = math.log(GRID[1] / GRID[0])
    if bend <= 0:
        return None
    # within half a step of the lowest
    found = float(logarithms[best]) + step * (before - after) / (2 * bend)
    reach = _QUANTILE * step / math.sqrt(bend)
    return FittedTemperature(math.exp(found), math.exp(found - reach), math.exp(found + reach))
