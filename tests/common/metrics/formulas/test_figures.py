"""Figures against numbers by hand and against torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_auroc

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas import METRICS

# of 4 images of class 0, 3 right; both of class 1 right; none of class 2
BY_HAND = Counts(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), loss_sum=3.0)


def value(name: str, counts: Counts, sums: np.ndarray | None = None) -> float:
    return METRICS[name].values(np.zeros(0) if sums is None else sums, counts)[name]


def test_metrics_of_the_confusion_by_hand() -> None:
    assert value("balanced_accuracy", BY_HAND) == (3 / 4 + 1) / 2
    assert value("worst_class_recall", BY_HAND) == 3 / 4


@pytest.mark.parametrize("name", ["balanced_accuracy", "worst_class_recall"])
def test_without_the_classes_of_some_images_they_are_unknown(name: str) -> None:
    assert math.isnan(value(name, BY_HAND + Counts(np.zeros((3, 3), np.int64), 1.0, 1)))
    assert math.isnan(value(name, Counts.zero(3)))


def sample(images: int, classes: int) -> tuple[np.ndarray, np.ndarray, Counts]:
    draws = np.random.default_rng(3)
    targets = draws.integers(classes, size=images)
    scores = draws.normal(size=(images, classes)).astype(np.float32)
    scores[np.arange(images), targets] += 1.5
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (targets, scores.argmax(axis=1)), 1)
    return scores, targets, Counts(confusion, 0.0)


@pytest.mark.parametrize(("name", "k"), [("top3", 3), ("top5", 5)])
def test_top_k_is_that_of_torchmetrics(name: str, k: int) -> None:
    scores, targets, counts = sample(400, 8)
    expected = multiclass_accuracy(
        torch.from_numpy(scores), torch.from_numpy(targets), 8, average="micro", top_k=k
    )
    found = value(name, counts, METRICS[name].sums(scores, targets))
    assert 0.5 < found < 1
    assert found == pytest.approx(float(expected))


def test_of_equal_scores_none_is_among_the_best() -> None:
    sums = METRICS["top3"].sums(np.zeros((5, 4), np.float32), np.zeros(5, np.int64))
    assert sums.tolist() == [0]


def test_auroc_is_that_of_torchmetrics_but_for_the_bins() -> None:
    scores, targets, counts = sample(2000, 5)
    probabilities = torch.from_numpy(scores).softmax(dim=1)
    expected = float(multiclass_auroc(probabilities, torch.from_numpy(targets), 5))
    found = value("auroc", counts, METRICS["auroc"].sums(scores, targets))
    assert 0.7 < found < 0.99
    assert found == pytest.approx(expected, abs=1e-3)


def test_auroc_of_extreme_scores() -> None:
    targets = np.array([0, 1, 0, 1])
    sure = np.array([[900, -900], [-900, 900], [900, -900], [-900, 900]], np.float32)
    same = np.zeros((4, 2), np.float32)
    broken = np.full((4, 2), np.nan, np.float32)
    found = [value("auroc", BY_HAND, METRICS["auroc"].sums(s, targets)) for s in (sure, same)]
    assert found == [1.0, 0.5]
    assert value("auroc", BY_HAND, METRICS["auroc"].sums(broken, targets)) == 0.5
    alone = METRICS["auroc"].sums(sure[:1], targets[:1])
    assert math.isnan(value("auroc", BY_HAND, alone))  # there is no image of another class
