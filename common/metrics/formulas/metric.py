"""The base of all metrics that an evaluation may count beside the confusion matrix and the loss.

A metric turns the outputs for some images into an array of sums. Sums of several evaluations are
added, in the order of the stores, and only then become figures: averages are never averaged. Share
of the images whose class is among the two best scores, as one file of a package:

    >>> class TopTwo(Metric):
    ...     name = "top2"
    ...     def shape(self, classes):
    ...         return (1,)
    ...     def sums(self, outputs, targets):
    ...         best = outputs.argsort(axis=1)[:, -2:]
    ...         return np.array([(best == targets[:, None]).any(axis=1).sum()])
    ...     def values(self, sums, counts):
    ...         return {"top2": share(sums[0], counts.num_examples)}
    >>> scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    >>> sums = TopTwo().sums(scores, np.array([1, 0]))
    >>> TopTwo().values(sums, Counts(np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]]), 0.0))
    {'top2': 0.5}

It is chosen by `evaluation.metrics=top2` once the package names it as an entry point:

    [project.entry-points."fedshelf.metrics"]
    top2 = "my_package.top_two:TopTwo"

A metric that only needs the confusion matrix has the shape (0,), counts nothing, and derives its
figures from `Counts` (`balanced_accuracy.py`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.counts import Counts, Sums

CLASS_SCORES = "class scores"

Better = Literal["higher", "lower"]


class Metric(ABC):
    """A metric of an evaluation.

    Attributes:
        name: small letters, digits and _; its figures begin with it. The setting has it, too, but
            for a person's own, which is `module:Object` there
        outputs: what `sums` is given: CLASS_SCORES, or the outputs of another task
        dtype: of the sums: np.int64 or np.float64; integers add up to the same in every order
        better: each figure's name -> whether a higher or a lower one is better. A figure is called
            as the metric, or begins with the metric's name and _
    """

    name: str
    outputs: ClassVar[str] = CLASS_SCORES
    dtype: ClassVar[type[np.int64] | type[np.float64]] = np.int64

    @property
    def better(self) -> Mapping[str, Better]:
        """The figures of this metric: by default one of its own name, of which more is better."""
        return {self.name: "higher"}

    @abstractmethod
    def shape(self, classes: int) -> tuple[int, ...]:
        """Return the shape of the sums of a model of so many classes; (0,): nothing is counted."""

    @abstractmethod
    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        """Return the figures, one for each name in `better`; nan for one that cannot be told.

        Args:
            sums: of all images together, of `shape`
            counts: of the same images; some of their classes may be withheld
        """

    def sums(self, outputs: Any, targets: Any) -> Sums:
        """Return the sums of B images: the sum over two halves must be that of the whole.

        A metric that counts nothing has none.

        Args:
            outputs: for CLASS_SCORES float32 [B, C], the scores, which may be infinite or nan
            targets: for CLASS_SCORES int64 [B], the true classes
        """
        return np.zeros(0, self.dtype)

    def is_possible(self, sums: Sums, images: int) -> bool:
        """Return whether a store's sums can be those of so many images.

        They have the right shape and type, and are finite. By default each must be between 0 and
        the number of images.
        """
        return bool((sums >= 0).all() and (sums <= images).all())


def share(part: float, whole: float) -> float:
    """Return part / whole; nan of nothing."""
    return float(part / whole) if whole else math.nan


def no_sums(metric: Metric, classes: int) -> Sums:
    """Return the sums of a metric over no images."""
    zeros: NDArray[Any] = np.zeros(metric.shape(classes), metric.dtype)
    return zeros


def is_derived(metric: Metric, classes: int) -> bool:
    """Return whether a metric counts nothing itself, and derives its figures from `Counts`."""
    return math.prod(metric.shape(classes)) == 0
