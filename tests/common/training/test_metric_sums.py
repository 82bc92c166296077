"""Sums over sets do not depend on where batches begin, nor on the sets beside them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas import METRICS
from fedshelf.common.metrics.formulas.metric import Metric
from fedshelf.common.training.metric_sums import MetricSums


class SquaredScore(Metric):
    """A sum of floats, whose last bits depend on the order."""

    name = "squared_score"
    dtype = np.float64

    def shape(self, classes: int) -> tuple[int, ...]:
        return (classes,)

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> Sums:
        return np.square(outputs.astype(np.float64)).sum(axis=0)

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        return {self.name: float(sums.sum())}


def images(number: int) -> tuple[np.ndarray, np.ndarray]:
    draws = np.random.default_rng(number)
    return draws.normal(size=(number, 3)).astype(np.float32), draws.integers(3, size=number)


@given(
    lengths=draw.lists(draw.sampled_from([1, 5, 1023, 1024, 2500]), min_size=1, max_size=4),
    batch=draw.sampled_from([1, 7, 600, 4000]),
)
def test_sums_are_to_the_bit_those_of_each_set_alone(lengths: list[int], batch: int) -> None:
    metrics = {"own": SquaredScore(), "top3": METRICS["top3"]}
    parts = [images(length) for length in lengths]
    scores, targets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    together = MetricSums(metrics, 3, lengths)
    for start in range(0, len(targets), batch):
        together.record(scores[start : start + batch], targets[start : start + batch])
    for found, part in zip(together.sums(), parts, strict=True):
        alone = MetricSums(metrics, 3, [len(part[1])])
        alone.record(*part)
        (expected,) = alone.sums()
        assert found.keys() == expected.keys() == {"own", "top3"}
        assert all((found[name] == expected[name]).all() for name in found)
        assert found["top3"] == len(part[1])


def test_without_a_metric_that_counts_nothing_is_recorded() -> None:
    assert not MetricSums({"own": METRICS["balanced_accuracy"]}, 3, [5]).is_needed
