"""Comparison of an exported model with the model that it was made of, on photos."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.predictor import Floats, Pixels, Predictor
from fedshelf.common.metrics.mcnemar import mcnemar_p

MAX_DIFFERENCE = 1e-3
"""The greatest difference of a probability between a model and its exact export."""

LEAST_AGREEMENT = 0.97
"""Share of photos whose class must be the same for a smaller model to be written."""

LEAST_P = 0.05
"""McNemar's probability above which two accuracies count as equal."""

LEAST_LABELLED = 100
"""Labelled photos without which nothing can be said of a smaller model."""

_TIMED_PHOTOS = 8
_TIMED_PASSES = 7


@dataclass
class Comparison:
    """Counts over photos that two models have seen.

    Attributes:
        photos: number of photos
        same_class: of them, those with the same most probable class
        difference: the greatest of all probabilities
        labelled: number of photos whose class is known
        both_right: of them, those that both models tell rightly
        only_original: those that the original model alone tells rightly
        only_exported: those that the exported model alone tells rightly
    """

    photos: int = 0
    same_class: int = 0
    difference: float = 0.0
    labelled: int = 0
    both_right: int = 0
    only_original: int = 0
    only_exported: int = 0

    def add(self, original: Floats, exported: Floats, labels: Sequence[int | None]) -> None:
        """Count photos.

        Args:
            original: probabilities by the original model, float32 [N, C]
            exported: those by the exported one, float32 [N, C]
            labels: the right class of each photo; None: it is not known
        """
        ours, theirs = original.argmax(axis=1), exported.argmax(axis=1)
        right: NDArray[np.int64] = np.array([-1 if label is None else label for label in labels])
        self.photos += len(labels)
        self.same_class += int((ours == theirs).sum())
        difference = np.abs(original - exported).max(initial=0.0)
        self.difference = float(np.maximum(self.difference, difference))  # nan, if either is
        self.labelled += int((right >= 0).sum())
        self.both_right += int(((ours == right) & (theirs == right)).sum())
        self.only_original += int(((ours == right) & (theirs != right)).sum())
        self.only_exported += int(((ours != right) & (theirs == right)).sum())

    @property
    def agreement(self) -> float:
        """The share of photos with the same class; nan: there are no photos."""
        return self.same_class / self.photos if self.photos else float("nan")

    @property
    def accuracy(self) -> float | None:
        """The share of labelled photos that the exported model tells rightly; None: no photos."""
        right = self.both_right + self.only_exported
        return right / self.labelled if self.labelled else None

    @property
    def p(self) -> float | None:
        """McNemar's probability; None: no photo is labelled."""
        return mcnemar_p(self.only_original, self.only_exported) if self.labelled else None

    def check_exact(self) -> None:
        """Check that the exported model predicts like the original, to rounding.

        Raises:
            DataError: a probability differs by more, or a photo's class.
        """
        if not self.difference <= MAX_DIFFERENCE or self.same_class < self.photos:
            raise DataError(
                f"The exported model does not predict like the original: on {self.photos} photos, a"
                f" probability differs by up to {self.difference:.4f} (allowed:"
                f" {MAX_DIFFERENCE:g}), and {self.photos - self.same_class} get another class."
                " Nothing was written; use model.safetensors."
            )

    def fault(self) -> str | None:
        """Return why the exported model cannot stand in for the original; None: it can."""
        if self.p is None or self.labelled < LEAST_LABELLED:
            return f"{self.labelled} labelled photos, {LEAST_LABELLED} are needed to judge it"
        if self.agreement < LEAST_AGREEMENT:
            return f"agrees on {self.agreement:.1%} of photos, expected {LEAST_AGREEMENT:.0%}"
        if self.p <= LEAST_P:
            return f"another accuracy, p = {self.p:.3f}, expected more than {LEAST_P}"
        return None


def cpu_milliseconds(predictors: Sequence[Predictor], pixels: Pixels) -> list[float]:
    """Return the CPU time that each model takes for a photo, in milliseconds.

    The models take turns, and of several passes the least counts, so that other work on the machine
    matters little.

    Args:
        predictors: the models
        pixels: a photo or more, uint8 [N, S, S, C], of which a few are used
    """
    photos = pixels[:_TIMED_PHOTOS]
    least = [float("inf")] * len(predictors)
    for _ in range(_TIMED_PASSES):
        for index, predictor in enumerate(predictors):
            start = time.process_time()
            predictor.predict(photos)
            least[index] = min(least[index], time.process_time() - start)
    return [1000 * seconds / len(photos) for seconds in least]
