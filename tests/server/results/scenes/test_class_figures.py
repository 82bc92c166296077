"""Figures of each class of products on scenes, by hand."""

import numpy as np
import torch

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.tasks import TASKS
from fedshelf.server.results.scenes.class_figures import class_figures


def test_masks_tell_the_overlap_of_each_class() -> None:
    """Of four pixels the second class has two, of which one is taken for the third class."""
    scores = torch.eye(4)[torch.tensor([[[0, 1], [2, 0]]])].permute(0, 3, 1, 2)
    mask = torch.tensor([[[0, 1], [1, 0]]], dtype=torch.uint8)
    counts = TASKS["masks"].count(scores, mask, torch.zeros(1))
    told = class_figures(counts, ("background", "can", "box", "tube"))
    expected = {"background": 1.0, "can": 0.5, "box": 0.0, "tube": None}
    assert told == {name: {"iou": overlap} for name, overlap in expected.items()}


def test_boxes_tell_precision_and_counts_of_each_class() -> None:
    """A map that finds the product of the second class and nothing else."""
    maps = torch.full((1, 3 + 4, 8, 8), -9.0)
    maps[0, 1, 3, 3] = 9
    maps[:, 3:] = np.log(1.5)
    boxes = torch.tensor([[[8.0, 8, 20, 20, 1], [0, 20, 8, 32, 0]]])
    counts = TASKS["boxes"].count(maps, boxes, torch.zeros(1))
    told = class_figures(counts, ("can", "box", "tube"))
    assert told is not None
    assert [row["products"] for row in told.values()] == [1, 1, 0]
    assert [row["ap_50"] for row in told.values()] == [0.0, 1.0, None]
    assert [row["count_bias"] for row in told.values()] == [-1.0, 0.0, 0.0]
    assert counts.accuracy == 0


def test_photos_of_single_products_have_their_own() -> None:
    assert class_figures(Counts.zero(2), ("can", "box")) is None
