"""Who is right how often, and what is chance: numbers that a reader can check by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw

from common.metrics import Counts
from simulations.compare.contributions import rank_correlation
from simulations.compare.judging import Gain, Judged, gain, judged, mean_gain


def answers(*right: int) -> Judged:
    return Judged(np.array(right, dtype=bool), Counts.zero(2))


def test_judged_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.125, 0.125, 0.75]])
    found = judged(probabilities.log(), torch.tensor([0, 2, 2]))
    assert found.right.tolist() == [True, False, True]
    assert found.counts.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    assert found.counts.loss_sum == pytest.approx(-np.log(0.5 * 0.25 * 0.75))


def test_gain_by_hand() -> None:
    # Of 8 images the second model has two more right and loses one: 1/8. p = 3/10, q = 2/10.
    found = gain(answers(1, 1, 1, 0, 0, 0, 0, 0), answers(1, 1, 0, 1, 1, 0, 0, 0))
    assert found is not None
    assert found.points == pytest.approx(12.5)
    assert found.margin == pytest.approx(196 * np.sqrt((0.3 + 0.2 - 0.01) / 10))
    assert not found.is_clear


def test_one_image_proves_nothing() -> None:
    found = gain(answers(0), answers(1))
    assert found is not None
    assert found.points == 100.0
    assert not found.is_clear


def test_nothing_is_said_of_no_images() -> None:
    assert gain(answers(), answers()) is None


@given(draw.lists(draw.tuples(draw.booleans(), draw.booleans()), min_size=1))
def test_a_gain_one_way_is_a_loss_the_other(pairs: list[tuple[bool, bool]]) -> None:
    before, after = (answers(*column) for column in zip(*pairs, strict=True))
    there, back = gain(before, after), gain(after, before)
    assert there is not None
    assert back is not None
    assert (there.points, there.margin) == pytest.approx((-back.points, back.margin))


def test_the_mean_counts_each_store_once() -> None:
    assert mean_gain([Gain(10.0, 3.0), Gain(-4.0, 4.0)]) == Gain(3.0, 2.5)


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
