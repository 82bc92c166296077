"""IoU of pixels by hand."""

import numpy as np
import pytest

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.mean_iou import MeanIoU, class_overlaps

TRUE = np.array([[[0, 0, 1, 1], [0, 0, 1, 255]]])
GUESS = np.array([[[0, 1, 1, 1], [0, 0, 0, 1]]])


def test_by_hand() -> None:
    """Background: 3 right, 1 taken for a product, 1 product taken for it; products 2, 1 and 1."""
    sums = MeanIoU().sums(GUESS, TRUE)
    assert sums.tolist() == [[3, 1], [1, 2]]
    assert class_overlaps(sums).tolist() == [3 / 5, 2 / 4]
    counts = Counts(np.zeros((2, 2), np.int64), 0.0, undisclosed_wrong=1)
    assert MeanIoU().values(sums, counts)["iou"] == pytest.approx((3 / 5 + 2 / 4) / 2)
    assert MeanIoU().is_possible(sums, 1)
    assert not MeanIoU().is_possible(-sums, 1)


def test_a_class_that_does_not_occur_does_not_count() -> None:
    nothing = np.zeros((1, 3, 3), np.int64)
    sums = MeanIoU().sums(nothing, nothing)
    assert MeanIoU().values(sums, Counts(sums, 0.0))["iou"] == 1
    assert np.isnan(MeanIoU().values(sums * 0, Counts(sums * 0, 0.0))["iou"])
