"""Counts of models' right answers: numbers that a reader can check by hand."""

import numpy as np
import pytest
import torch

from fedshelf.common.config import ModelConfig
from fedshelf.common.metrics.formulas import METRICS, scalars
from fedshelf.common.models import specify
from fedshelf.common.training.fit import Network
from fedshelf.common.training.predict import log_probabilities
from fedshelf.simulations.compare.contributions import rank_correlation
from fedshelf.simulations.compare.statistics.paired_accuracy import judge, judged
from tests.helpers.simulated_stores import photos


def test_judged_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.125, 0.75]])
    found = judged(probabilities.log(), torch.tensor([0, 2, 2]))
    assert found.right.tolist() == [True, False, True]
    assert found.counts.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert found.counts.loss_sum == pytest.approx(-np.log(0.5 * 0.25 * 0.75))


def test_further_metrics_are_counted_on_the_same_images() -> None:
    probabilities = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]])
    metrics = {name: METRICS[name] for name in ("top3", "worst_class_recall")}
    found = judged(probabilities.log(), torch.tensor([2, 3]), metrics)
    figures = scalars(found.counts)
    # class 2 is the third best of the first photo, class 3 the fourth of the second
    assert (figures["top3"], figures["worst_class_recall"], figures["accuracy"]) == (0.5, 0, 0)


def test_adjusted_scores_are_those_with_the_stores_shares() -> None:
    spec = specify(
        ModelConfig(name="niid-cnn"),
        ("coat", "hat", "shoe"),
        image_size=16,
        native_size=None,
        channels=3,
    )
    network = Network(spec, torch.device("cpu"), seed=3)
    images = photos(12, 16)
    shares = torch.tensor([0.7, 0.2, 0.1])
    found = judge(network, images, shares.log(), 5)
    said = log_probabilities(network, images, 5)
    expected = (said.exp() * shares) / (said.exp() * shares).sum(dim=1, keepdim=True)
    assert found.raw.right.tolist() == (said.argmax(dim=1) == images.targets()).tolist()
    assert found.adjusted is not None
    assert found.adjusted.right.tolist() == (expected.argmax(dim=1) == images.targets()).tolist()
    likelihoods = expected.gather(1, images.targets()[:, None])
    assert found.adjusted.counts.loss_sum == pytest.approx(
        float(-likelihoods.log().sum()), rel=1e-5
    )
    assert found.used(is_adjusted=True) is found.adjusted
    assert found.used(is_adjusted=False) is found.raw
    nothing = judge(network, images, None, 5)
    assert nothing.adjusted is None
    assert nothing.used(is_adjusted=True) is nothing.raw


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 99], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        # 1 - 6 * (0 + 1 + 1) / (4 * 15)
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),
        # ranks 1.5, 1.5, 3 and 1, 2, 3
        ([5, 5, 9], [1, 2, 3], np.sqrt(3) / 2),
        ([5, 5, 5], [1, 2, 3], None),
    ],
)
def test_rank_correlation(one: list[float], other: list[float], expected: float | None) -> None:
    assert rank_correlation(one, other) == (None if expected is None else pytest.approx(expected))
