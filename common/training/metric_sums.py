"""The sums of further metrics over sets of images, from scores that come batch by batch."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Sums
from fedshelf.common.metrics.formulas.metric import Metric, is_derived, no_sums

# a metric is given the images of a set so many at a time, wherever batches begin, so that its sums
# are the same to the bit beside other sets
IMAGES_AT_ONCE = 1024


class MetricSums:
    """Sums of metrics over consecutive sets of images, whose batches cross the sets' borders.

    Args:
        metrics: of class scores
        classes: C
        lengths: images of each set, at least 1
    """

    def __init__(self, metrics: Mapping[str, Metric], classes: int, lengths: Iterable[int]) -> None:
        self._metrics = {
            name: metric for name, metric in metrics.items() if not is_derived(metric, classes)
        }
        self._classes = classes
        self._totals: list[dict[str, Sums]] = []
        self._pieces = _pieces(lengths)
        self._waiting: list[tuple[NDArray[np.float32], NDArray[np.int64]]] = []
        self._missing = 0  # images of the present piece that are still to come
        self._present = -1  # index of its set

    @property
    def is_needed(self) -> bool:
        """True if there is anything to count."""
        return bool(self._metrics)

    def record(self, scores: NDArray[np.float32], targets: NDArray[np.int64]) -> None:
        """Record the next B images.

        Args:
            scores: float32 [B, C]
            targets: int64 [B]
        """
        start = 0
        while start < len(targets):
            if not self._missing:
                self._present, self._missing = next(self._pieces)
            stop = min(start + self._missing, len(targets))
            self._waiting.append((scores[start:stop], targets[start:stop]))
            self._missing -= stop - start
            start = stop
            if not self._missing:
                self._count()

    def sums(self) -> list[dict[str, Sums]]:
        """Return the sums of each set by the metrics' names, once all images are recorded."""
        assert not self._missing
        assert next(self._pieces, None) is None, "whole sets are missing"
        return self._totals

    def _count(self) -> None:
        """Add the sums of the piece that is whole to those of its set."""
        scores, targets = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        self._waiting.clear()
        if self._present == len(self._totals):
            self._totals.append(
                {name: no_sums(metric, self._classes) for name, metric in self._metrics.items()}
            )
        total = self._totals[self._present]
        for name, metric in self._metrics.items():
            total[name] = total[name] + formulas.sums_of(metric, scores, targets, self._classes)


def _pieces(lengths: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the index of a set and a number of images, for each piece of it."""
    for index, length in enumerate(lengths):
        for start in range(0, length, IMAGES_AT_ONCE):
            yield index, min(IMAGES_AT_ONCE, length - start)
