"""Calibration of a model's confidence: mergeable counts, temperature scaling, energy threshold.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017). The
confidence of an image is max_c softmax(z / T)_c of its scores z. T > 1 makes a model less sure, T <
1 surer, and no T changes the class that it predicts. All counts are sums over images, so no score
of an image leaves the place of the evaluation. With the confidence, the energy of the images is
counted (`common.metrics.energy`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.energy import energy_histogram, energy_quantile, is_in_range
from fedshelf.common.metrics.proportions import apportion

BINS = 15  # bins of equal width, as in Table 1 of the paper
# 1/4 to 54 in quarter octaves; a parabola through three of them is within 1% of the result of a
# fine search.
TEMPERATURES: tuple[float, ...] = tuple(2.0 ** (step / 4) for step in range(-8, 24))
# limits of an order
COOLEST = 1 / 64
HOTTEST = 64.0
MAX_TEMPERATURES = 32
# an image of lower energy than this share of the validation images counts as unknown; the paper's
# figures are for it, too
UNKNOWN_SHARE = 0.05
# for a fit: with 20 images, all correct by chance, any model looks too unsure
MIN_CALIBRATION_IMAGES = 50
PRIOR = math.log(2)  # standard deviation of the prior of log T: most models need 1/2 to 2
_QUANTILE = 1.96  # quantile of the normal distribution for 95%


@dataclass(frozen=True)
class Reliability:
    """Counts of a model's confidence at K temperatures; a commutative monoid under `+`.

    Bin b of BINS holds the images whose confidence is in (b / BINS, (b + 1) / BINS].

    Attributes:
        temperatures: K divisors of the scores
        nll: float64 [K], sum over images of the negative log-likelihood of the true class
        images: int64 [K, BINS], images by confidence
        correct: int64 [K, BINS], images whose class is predicted correctly
        confidence_sum: float64 [K, BINS], sum of the confidences of `images`
        energies: int64 [ENERGY_BINS], images by energy at temperature 1
    """

    temperatures: tuple[float, ...]
    nll: NDArray[np.float64]
    images: NDArray[np.int64]
    correct: NDArray[np.int64]
    confidence_sum: NDArray[np.float64]
    energies: NDArray[np.int64]

    @classmethod
    def from_predictions(
        cls,
        temperatures: Sequence[float],
        nll: NDArray[np.float32],
        confidences: NDArray[np.float32],
        is_correct: NDArray[np.bool_],
        energies: NDArray[np.float32],
    ) -> "Reliability":
        """Return the counts of N images.

        Args:
            temperatures: K divisors of the scores
            nll: float32 [K, N], each image's negative log-likelihood at each temperature
            confidences: float32 [K, N], the largest probability of each image, 0 to 1
            is_correct: bool [N], whether the predicted class is the true one
            energies: float32 [N], log sum exp of each image's scores
        """
        shape = (len(temperatures), BINS)
        bins = np.clip(
            np.ceil(np.nan_to_num(confidences.astype(np.float64)) * BINS).astype(np.int64) - 1,
            0,
            BINS - 1,
        )
        cells = (bins + BINS * np.arange(len(temperatures))[:, None]).ravel()
        size = shape[0] * BINS
        hits = cells.reshape(confidences.shape)[:, is_correct].ravel()
        return cls(
            tuple(temperatures),
            nll.sum(axis=1, dtype=np.float64),
            np.bincount(cells, minlength=size).reshape(shape),
            np.bincount(hits, minlength=size).reshape(shape),
            # without images, bincount returns integers
            np.bincount(cells, weights=confidences.ravel(), minlength=size)
            .reshape(shape)
            .astype(np.float64),
            energy_histogram(energies),
        )

    def __add__(self, other: "Reliability") -> "Reliability":
        """Add counts of other images.

        Raises:
            ValueError: the counts are at other temperatures.
        """
        if self.temperatures != other.temperatures:
            raise ValueError(
                f"Counts at {len(self.temperatures)} temperatures and at {len(other.temperatures)}"
                " others"
            )
        return Reliability(
            self.temperatures,
            self.nll + other.nll,
            self.images + other.images,
            self.correct + other.correct,
            self.confidence_sum + other.confidence_sum,
            self.energies + other.energies,
        )

    def at_most(self, images: int) -> "Reliability":
        """Return counts of at most `images` images in the same proportions, with the same means."""
        if (num_examples := self.num_examples) <= images:
            return self
        split = np.concatenate([self.correct, self.images - self.correct], axis=1)
        parts = np.stack([apportion(row, images) for row in split])
        correct = parts[:, :BINS]
        share = images / num_examples
        return Reliability(
            self.temperatures,
            self.nll * share,
            correct + parts[:, BINS:],
            correct,
            self.confidence_sum * share,
            apportion(self.energies, images),
        )

    @property
    def num_examples(self) -> int:
        """The number of images counted."""
        return int(self.images[0].sum()) if len(self.images) else 0

    def ece(self, index: int) -> float:
        """Return the expected calibration error (Equation 3) at the temperature of this index.

        It is sum_b |correct_b - confidence_sum_b| / N, the mean difference of confidence and
        accuracy; nan without images.
        """
        return self._mean(np.abs(self.correct[index] - self.confidence_sum[index]).sum())

    def confidence(self, index: int) -> float:
        """Return the mean confidence at the temperature of this index; nan without images."""
        return self._mean(self.confidence_sum[index].sum())

    def loss(self, index: int) -> float:
        """Return the mean negative log-likelihood at the temperature of this index.

        It is nan without images.
        """
        return self._mean(self.nll[index])

    def _mean(self, total: float) -> float:
        return float(total) / self.num_examples if self.num_examples else math.nan


@dataclass(frozen=True)
class FittedTemperature:
    """A temperature and its 95% interval.

    Attributes:
        temperature: the likeliest divisor of the scores
        low: lower end of the interval that holds the best temperature with a probability of 95%
        high: its upper end
    """

    temperature: float
    low: float
    high: float


def fit_temperature(counts: Reliability) -> FittedTemperature | None:
    """Return the likeliest temperature, with a normal prior on its logarithm.

        argmin_T sum_i -log softmax(z_i / T)_y_i + (log T / PRIOR)^2 / 2

    Many images outweigh the prior. Few and easy ones, which any smaller T makes likelier, do not.
    The minimum is the vertex of the parabola in log T through the best of the grid and its
    neighbours, and the interval follows from its curvature (Laplace's approximation: 1.96 /
    sqrt(second derivative) on either side).

    Args:
        counts: counts at the temperatures of TEMPERATURES

    Returns:
        None for fewer than MIN_CALIBRATION_IMAGES images, for a likelihood that is not finite, and
        if the best temperature is an end of the grid, as there are no counts beyond it.
    """
    assert counts.temperatures == TEMPERATURES
    if counts.num_examples < MIN_CALIBRATION_IMAGES or not np.isfinite(counts.nll).all():
        return None
    logarithms = np.log(TEMPERATURES)
    costs = counts.nll + (logarithms / PRIOR) ** 2 / 2
    best = int(costs.argmin())
    if best in (0, len(TEMPERATURES) - 1):
        return None
    before, lowest, after = costs[best - 1 : best + 2].tolist()
    curvature = before - 2 * lowest + after
    step = math.log(TEMPERATURES[1] / TEMPERATURES[0])
    if curvature <= 0:
        return None
    # within half a step of the grid's best
    log_temperature = float(logarithms[best]) + step * (before - after) / (2 * curvature)
    half_width = _QUANTILE * step / math.sqrt(curvature)
    return FittedTemperature(
        math.exp(log_temperature),
        math.exp(log_temperature - half_width),
        math.exp(log_temperature + half_width),
    )


def fit_energy_threshold(counts: Reliability) -> float | None:
    """Return the energy below which UNKNOWN_SHARE of the images lie.

    Returns:
        None for fewer than MIN_CALIBRATION_IMAGES images, and for a threshold at an end of the
        range of energies, as what lies outside of it is counted there.
    """
    if counts.num_examples < MIN_CALIBRATION_IMAGES:
        return None
    threshold = energy_quantile(counts.energies, UNKNOWN_SHARE)
    return threshold if is_in_range(threshold) else None
