"""Errors of counts by hand, the best threshold, and sums that nobody can send."""

from dataclasses import replace

import numpy as np
import pytest

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.count_error import (
    THRESHOLDS,
    CountError,
    best_threshold,
    class_sums,
    errors_at,
)
from fedshelf.common.scenes.boxes import Boxes

COUNT = CountError()


def of_scores(*scores: float) -> Boxes:
    corners = np.tile(np.array([0, 0, 5, 5], np.float32), (len(scores), 1))
    return Boxes(corners, np.full(len(scores), -1), np.array(scores, np.float32))


# photos with 3 products and with 1
FOUND = [of_scores(0.9, 0.5, 0.2), of_scores(0.8, 0.45, 0.4)]
TRUE = [of_scores(1, 1, 1), of_scores(1)]


@pytest.mark.parametrize(
    ("threshold", "errors"),
    [
        (0.1, [0, 2]),
        (0.3, [-1, 2]),
        (0.42, [-1, 1]),
        (0.48, [-1, 0]),
        (0.6, [-2, 0]),
        (0.94, [-3, -1]),
    ],
)
def test_errors_by_hand(threshold: float, errors: list[int]) -> None:
    told = errors_at(COUNT.sums(FOUND, TRUE), 2, threshold)
    absolute = sum(map(abs, errors))
    assert told["count_error"] == absolute / 2
    assert told["count_share"] == absolute / 4
    assert told["count_bias"] == sum(errors) / 2


def test_figures_of_a_round_are_those_at_a_usual_threshold() -> None:
    counts = Counts(np.zeros((1, 1), np.int64), 0.0, undisclosed_wrong=2)
    sums = COUNT.sums(FOUND, TRUE)
    assert COUNT.values(sums, counts) == {"count_error": 1.5, "count_share": 0.75}


def test_the_best_threshold_is_in_the_middle_of_equal_ones() -> None:
    """From 0.46 to 0.5 the error is 1: one product missed."""
    assert best_threshold(COUNT.sums(FOUND, TRUE)) == pytest.approx(0.48)


def test_sums_add_up() -> None:
    parts = [COUNT.sums(FOUND[:1], TRUE[:1]), COUNT.sums(FOUND[1:], TRUE[1:])]
    assert np.array_equal(parts[0] + parts[1], COUNT.sums(FOUND, TRUE))
    assert COUNT.sums([], []).shape == (3, len(THRESHOLDS))


def test_a_store_cannot_send_anything() -> None:
    sums = COUNT.sums(FOUND, TRUE)
    assert COUNT.is_possible(sums, 2)
    assert not COUNT.is_possible(-sums, 2)
    assert not COUNT.is_possible(sums * 10**4, 2)
    assert not COUNT.is_possible(sums + np.arange(len(THRESHOLDS)), 2)


def test_each_class_is_counted_and_figures_are_of_all_together() -> None:
    """Two found and two there, but of other classes: together right, each class off by one."""
    found = replace(of_scores(0.9, 0.8), classes=np.array([0, 0]))
    true = replace(of_scores(1, 1), classes=np.array([0, 1]))
    metric = CountError(2)
    sums = metric.sums([found], [true])
    assert sums.shape == metric.shape(2)
    assert metric.is_possible(sums, 1)
    assert errors_at(sums, 1, 0.3)["count_error"] == 0
    told = [errors_at(of_class, 1, 0.3)["count_bias"] for of_class in class_sums(sums)]
    assert told == [1, -1]
    wrong = sums.copy()
    wrong[2, 2, 0] += 1
    assert not metric.is_possible(wrong, 1)
