"""Counts against numbers by hand and against torchmetrics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as draw
from hypothesis.extra import numpy as arrays
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts, merge

# three classes: of 4 images of class 0, 3 right and one taken for class 1; both images of class 1
# right; no image of class 2
BY_HAND = Counts(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), loss_sum=3.0)

matrices = arrays.arrays(np.int64, (4, 4), elements=draw.integers(0, 50))


def test_numbers_by_hand() -> None:
    assert BY_HAND.num_examples == 6
    assert BY_HAND.accuracy == 5 / 6
    assert BY_HAND.loss == 0.5
    np.testing.assert_allclose(BY_HAND.recall, [3 / 4, 1, 0])
    np.testing.assert_allclose(BY_HAND.precision, [1, 2 / 3, 0])
    np.testing.assert_allclose(BY_HAND.f1, [6 / 7, 4 / 5, 0])
    assert BY_HAND.macro_f1 == (6 / 7 + 4 / 5) / 2  # of class 2 there are no images
    assert BY_HAND.macro_precision == (1 + 2 / 3) / 2
    assert BY_HAND.macro_recall == (3 / 4 + 1) / 2


def test_a_class_that_was_only_named_is_in_no_mean() -> None:
    # A store that has 10 boots and 4 hats, of which 2 boots and 1 hat are taken for the shirts that
    # it does not have.
    counts = Counts(np.array([[8, 0, 2], [1, 2, 1], [0, 0, 0]]), 1.0)
    assert counts.macro_recall == pytest.approx((8 / 10 + 2 / 4) / 2)
    assert counts.macro_precision == pytest.approx((8 / 9 + 2 / 2) / 2)
    assert counts.macro_f1 == pytest.approx((16 / 19 + 4 / 6) / 2)
    told = counts.per_class(("boot", "hat", "shirt"))
    assert told["hat"] == {"precision": 1.0, "recall": 0.5, "f1": 4 / 6, "images": 4}
    assert told["shirt"] == {"precision": None, "recall": None, "f1": None, "images": 0}


@given(matrices)
def test_means_are_those_of_torchmetrics_over_the_classes_with_images(
    confusion: np.ndarray,
) -> None:
    counts = Counts(confusion, 0.0)
    truth, predicted = (
        torch.from_numpy(np.repeat(cells, confusion.ravel()))
        for cells in np.indices((4, 4)).reshape(2, 16)
    )
    assume(len(truth))
    for ours, theirs in (
        (counts.macro_precision, multiclass_precision),
        (counts.macro_recall, multiclass_recall),
        (counts.macro_f1, multiclass_f1_score),
    ):
        each = theirs(predicted, truth, num_classes=4, average="none")
        assert ours == pytest.approx(each[truth.unique()].mean().item(), abs=1e-6)


def test_nothing_counted_is_not_a_number() -> None:
    zero = Counts.zero(3)
    assert all(math.isnan(value) for value in zero.scalars().values())


@given(draw.lists(matrices, min_size=1, max_size=4))
def test_merging_in_parts_equals_counting_at_once(parts: list[np.ndarray]) -> None:
    merged = merge([Counts(part, 1.5) for part in parts], 4)
    np.testing.assert_array_equal(merged.confusion, np.sum(parts, axis=0))
    assert merged.loss_sum == 1.5 * len(parts)


def test_a_sum_with_a_loss_that_is_withheld_has_none_and_keeps_the_rest() -> None:
    merged = merge([BY_HAND, replace(BY_HAND, loss_sum=None)], 3)
    assert merged.loss_sum is None
    assert math.isnan(merged.loss)
    assert (merged.num_examples, merged.accuracy) == (12, BY_HAND.accuracy)
    assert merged.at_most(6).loss_sum is None


def test_stores_that_do_not_tell_how_sure_the_model_was_leave_the_rest() -> None:
    told = Reliability.from_predictions(
        (1.0,),
        np.ones((1, 6), np.float32),
        np.ones((1, 6), np.float32),
        np.ones(6, bool),
        np.ones(6, np.float32),
    )
    silent = BY_HAND
    open_one = replace(BY_HAND, reliability=told)
    merged = merge([silent, open_one, silent, open_one], 3)
    assert merged.num_examples == 24
    assert merged.reliability is not None
    assert merged.reliability.num_examples == 12
    assert merge([silent, silent], 3).reliability is None


def test_agrees_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.integers(0, 5, 400))
    predicted = torch.from_numpy(rng.integers(0, 5, 400))
    confusion = np.zeros((5, 5), dtype=np.int64)
    np.add.at(confusion, (truth.numpy(), predicted.numpy()), 1)
    counts = Counts(confusion, 0.0)
    for ours, theirs in (
        (counts.precision, multiclass_precision),
        (counts.recall, multiclass_recall),
        (counts.f1, multiclass_f1_score),
    ):
        np.testing.assert_allclose(
            ours, theirs(predicted, truth, num_classes=5, average="none").numpy(), rtol=1e-5
        )
    for ours, theirs in (
        (counts.macro_precision, multiclass_precision),
        (counts.macro_recall, multiclass_recall),
        (counts.macro_f1, multiclass_f1_score),
    ):
        assert np.isclose(ours, theirs(predicted, truth, num_classes=5, average="macro").item())
    assert np.isclose(
        counts.accuracy,
        multiclass_accuracy(predicted, truth, num_classes=5, average="micro").item(),
    )


def test_a_sum_that_one_withholds_is_not_known_for_all() -> None:
    told = Counts(np.array([[3, 1], [0, 0]]), 1.0, metrics={"top3": np.array([4])})
    silent = Counts(np.array([[2, 0], [0, 0]]), 1.0)
    nobody = Counts.zero(2)
    assert (told + told).metrics == {"top3": np.array([8])}
    assert (nobody + told + nobody).metrics == {"top3": np.array([4])}
    for order in ([told, silent, told], [silent, told], [nobody, told, silent]):
        assert merge(order, 2).metrics == {}
