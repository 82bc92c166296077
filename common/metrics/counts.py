"""Mergeable counts: a confusion matrix and a summed loss. Averages are derived, never averaged."""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.apportion import apportioned
from fedshelf.common.metrics.calibration import Reliability


@dataclass(frozen=True)
class Counts:
    """The counts of an evaluation; a commutative monoid under `+`.

    confusion: int64 [C, C], row = true class, column = predicted class
    loss_sum: sum over images of the loss
    right, wrong: images classified rightly and wrongly whose classes a store keeps to itself: they
        count for accuracy and loss, not per class
    reliability: counts of the model's confidence; None if not asked for, or if the store may not
        send them
    """

    confusion: NDArray[np.int64]
    loss_sum: float
    right: int = 0
    wrong: int = 0
    reliability: Reliability | None = None

    @classmethod
    def zero(cls, num_classes: int) -> "Counts":
        """Return counts of no images."""
        return cls(np.zeros((num_classes, num_classes), dtype=np.int64), 0.0)

    def __add__(self, other: "Counts") -> "Counts":
        untold = (self.right + other.right, self.wrong + other.wrong)
        told = [each for each in (self.reliability, other.reliability) if each is not None]
        reliability = reduce(Reliability.__add__, told) if told else None
        return Counts(
            self.confusion + other.confusion, self.loss_sum + other.loss_sum, *untold, reliability
        )

    def at_most(self, images: int) -> "Counts":
        """Return counts of at most `images` images in the same proportions, with the same mean
        loss.
        """
        if (counted := self.num_examples) <= images:
            return self
        cells = apportioned(np.append(self.confusion, (self.right, self.wrong)), images)
        reliability = self.reliability.at_most(images) if self.reliability else None
        confusion = cells[:-2].reshape(self.confusion.shape)
        return Counts(
            confusion, self.loss_sum * images / counted, int(cells[-2]), int(cells[-1]), reliability
        )

    @property
    def num_examples(self) -> int:
        """The number of images counted."""
        return int(self.confusion.sum()) + self.right + self.wrong

    @property
    def loss(self) -> float:
        """The mean loss per image; nan without images."""
        return self.loss_sum / self.num_examples if self.num_examples else float("nan")

    @property
    def accuracy(self) -> float:
        """The share of images classified rightly; nan without images."""
        right = int(np.trace(self.confusion)) + self.right
        return right / self.num_examples if self.num_examples else float("nan")

    @property
    def recall(self) -> NDArray[np.float64]:
        """The recall of each class, float64 [C]: right among the images of the class; 0 for a class
        without images.
        """
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """The precision of each class, float64 [C]: right among the images predicted as the class;
        0 without any.
        """
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def f1(self) -> NDArray[np.float64]:
        """The F1 of each class, float64 [C]: harmonic mean of precision and recall, 2 TP / (true +
        predicted).
        """
        return _ratio(
            2 * np.diag(self.confusion), self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        )

    @property
    def judged(self) -> NDArray[np.bool_]:
        """A mask of the classes with images, bool [C]; macro means run over these.

        Recall is not defined for the others, even if the model predicted them: a store's own images
        can be taken for a product that it does not sell.
        """
        has_images: NDArray[np.bool_] = self.confusion.sum(axis=1) > 0
        return has_images

    @property
    def macro_f1(self) -> float:
        """The unweighted mean of F1 over the classes with images; nan without any."""
        return self._macro(self.f1)

    @property
    def macro_precision(self) -> float:
        """The unweighted mean of precision over the classes with images; nan without any."""
        return self._macro(self.precision)

    @property
    def macro_recall(self) -> float:
        """The unweighted mean of recall over the classes with images; nan without any."""
        return self._macro(self.recall)

    def scalars(self) -> dict[str, float]:
        """Return the three numbers that history and summary carry: accuracy, macro_f1, loss."""
        return {"accuracy": self.accuracy, "macro_f1": self.macro_f1, "loss": self.loss}

    def per_class(self, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """Return precision, recall, F1 and number of images by class name.

        The first three are None for a class without images.
        """
        images = self.confusion.sum(axis=1)
        return {
            name: (
                {"precision": float(p), "recall": float(r), "f1": float(f), "images": int(n)}
                if n
                else {"precision": None, "recall": None, "f1": None, "images": 0}
            )
            for name, p, r, f, n in zip(
                classes, self.precision, self.recall, self.f1, images, strict=True
            )
        }

    def _macro(self, values: NDArray[np.float64]) -> float:
        """Return the mean of `values` [C] over the classes with images."""
        return float(values[self.judged].mean()) if self.judged.any() else float("nan")


def merge(counts: list[Counts], num_classes: int) -> Counts:
    """Sum counts in the order given (integers commute exactly; the loss sum is reduced in this
    order).
    """
    return reduce(Counts.__add__, counts, Counts.zero(num_classes))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.divide(
        part, whole, out=np.zeros(len(whole), dtype=np.float64), where=whole > 0
    )
    return result
