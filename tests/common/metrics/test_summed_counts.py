"""Counts of evaluations as ring elements: what is read from their sum is the sum of the counts."""

from dataclasses import replace

import numpy as np
import pytest

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.summed_counts import CountsLayout

SHAPES = {"pixels": (2, 2), "errors": (3,)}
# three of them are more than 2^32 pixels; errors may be below 0
STORES = [
    Counts(
        np.array([[number, 1], [0, 2]]),
        loss_sum=0.5 * number,
        undisclosed_wrong=1,
        metrics={
            "pixels": np.array([[2**34, number], [0, 2**16 - 1]]),
            "errors": np.array([-(2**33) - number, -1, number]),
        },
    )
    for number in range(3)
]


def summed(stores: list[Counts]) -> Counts:
    layout = CountsLayout(2, stores=3, images=10, metrics=SHAPES)
    total = np.zeros(layout.size, np.uint32)
    for counts in stores:
        total += layout.encode(counts, None)
    raw, _ = layout.decode(total)
    return raw


def test_sums_of_metrics_are_exact_whatever_their_sign_and_size() -> None:
    expected = STORES[0] + STORES[1] + STORES[2]
    found = summed(STORES)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    assert (found.undisclosed_wrong, found.num_examples) == (3, expected.num_examples)
    assert found.loss_sum == pytest.approx(expected.loss_sum)
    assert found.metrics.keys() == SHAPES.keys()
    for name, sums in expected.metrics.items():
        np.testing.assert_array_equal(found.metrics[name], sums)


def test_a_metric_that_one_store_withholds_is_known_of_none() -> None:
    metrics = {"errors": STORES[0].metrics["errors"]}
    found = summed([replace(STORES[0], metrics=metrics), *STORES[1:]])
    assert found.metrics.keys() == {"errors"}
    assert summed([replace(each, metrics={}) for each in STORES]).metrics == {}
