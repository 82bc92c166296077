"""Mergeable counts: a confusion matrix and a summed loss. Averages are derived, never averaged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.proportions import apportion

Sums = NDArray[Any]
"""The sums of one further metric, int64 or float64 (`common.metrics.formulas.metric`)."""


@dataclass(frozen=True)
class Counts:
    """The counts of an evaluation; a commutative monoid under `+`.

    Attributes:
        confusion: int64 [C, C], row = true class, column = predicted class
        loss_sum: sum over images of the loss; None: a store's policy withholds it, for some of the
            images or all
        undisclosed_correct: images predicted correctly whose classes a store keeps to itself: they
            count for accuracy and loss, not per class
        undisclosed_wrong: the same for images predicted wrongly
        reliability: counts of the model's confidence; None if not asked for, or if the store may
            not send them
        metrics: sums of further metrics by their names in the settings
            (`common.metrics.formulas`), of all the images or none: a sum that one store withholds
            is not known for all

    >>> oslo = Counts(np.array([[3, 1], [0, 0]]), loss_sum=2.0)
    >>> rome = Counts(np.array([[0, 0], [2, 2]]), loss_sum=6.0)
    >>> both = oslo + rome
    >>> both.num_examples, both.accuracy, both.loss
    (8, 0.625, 1.0)
    >>> both.recall.tolist()
    [0.75, 0.5]
    """

    confusion: NDArray[np.int64]
    loss_sum: float | None
    undisclosed_correct: int = 0
    undisclosed_wrong: int = 0
    reliability: Reliability | None = None
    metrics: Mapping[str, Sums] = field(default_factory=dict)

    @classmethod
    def zero(cls, num_classes: int) -> "Counts":
        """Return counts of no images."""
        return cls(np.zeros((num_classes, num_classes), dtype=np.int64), 0.0)

    def __add__(self, other: "Counts") -> "Counts":
        known = [counts for counts in (self.reliability, other.reliability) if counts is not None]
        return Counts(
            self.confusion + other.confusion,
            None
            if self.loss_sum is None or other.loss_sum is None
            else self.loss_sum + other.loss_sum,
            self.undisclosed_correct + other.undisclosed_correct,
            self.undisclosed_wrong + other.undisclosed_wrong,
            reduce(Reliability.__add__, known) if known else None,
            self._metrics_with(other),
        )

    def _metrics_with(self, other: "Counts") -> dict[str, Sums]:
        """Return the sums of both, of the metrics that are known for all images of both."""
        added: dict[str, Sums] = {
            name: sums + other.metrics[name]
            for name, sums in self.metrics.items()
            if name in other.metrics
        }
        for one, without in ((self, other), (other, self)):
            if not without.num_examples:  # of no images every sum is known: it is 0
                added = dict(one.metrics) | added
        return added

    def at_most(self, images: int) -> "Counts":
        """Return counts of at most `images` images, in the same proportions.

        The mean loss stays the same.
        """
        if (num_examples := self.num_examples) <= images:
            return self
        cells = apportion(
            np.append(self.confusion, (self.undisclosed_correct, self.undisclosed_wrong)), images
        )
        reliability = self.reliability.at_most(images) if self.reliability else None
        confusion = cells[:-2].reshape(self.confusion.shape)
        return Counts(
            confusion,
            None if self.loss_sum is None else self.loss_sum * images / num_examples,
            int(cells[-2]),
            int(cells[-1]),
            reliability,
            {name: _scaled(sums, images / num_examples) for name, sums in self.metrics.items()},
        )

    @property
    def is_disclosed(self) -> bool:
        """True if the classes of all images are known."""
        return not self.undisclosed_correct + self.undisclosed_wrong

    @property
    def num_examples(self) -> int:
        """The number of images counted."""
        return int(self.confusion.sum()) + self.undisclosed_correct + self.undisclosed_wrong

    @property
    def loss(self) -> float:
        """The mean loss per image; nan without images, and if a store withholds it."""
        if self.loss_sum is None or not self.num_examples:
            return float("nan")
        return self.loss_sum / self.num_examples

    @property
    def accuracy(self) -> float:
        """The share of images predicted correctly; nan without images."""
        correct = int(np.trace(self.confusion)) + self.undisclosed_correct
        return correct / self.num_examples if self.num_examples else float("nan")

    @property
    def recall(self) -> NDArray[np.float64]:
        """The recall of each class, float64 [C]: share of its images that are predicted correctly.

        It is 0 for a class without images.
        """
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """The precision of each class, float64 [C]: share of its predictions that are correct.

        It is 0 for a class that is never predicted.
        """
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def f1(self) -> NDArray[np.float64]:
        """The F1 of each class, float64 [C]: harmonic mean of precision and recall.

        It is 2 TP / (true + predicted).
        """
        return _ratio(
            2 * np.diag(self.confusion), self.confusion.sum(axis=0) + self.confusion.sum(axis=1)
        )

    @property
    def classes_with_images(self) -> NDArray[np.bool_]:
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
        return (
            float(values[self.classes_with_images].mean())
            if self.classes_with_images.any()
            else float("nan")
        )


def merge(counts: list[Counts], num_classes: int) -> Counts:
    """Sum counts in the order given: integers commute exactly, sums of losses do not.

    Args:
        counts: counts over the same classes
        num_classes: C, which decides the shape of the sum of no counts
    """
    return reduce(Counts.__add__, counts, Counts.zero(num_classes))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.divide(
        part, whole, out=np.zeros(len(whole), dtype=np.float64), where=whole > 0
    )
    return result


def _scaled(sums: Sums, share: float) -> Sums:
    """Return sums of a share of the images; integers are rounded, which keeps their order."""
    if np.issubdtype(sums.dtype, np.floating):
        return sums * share
    rounded: Sums = np.rint(sums * share).astype(np.int64)
    return rounded
