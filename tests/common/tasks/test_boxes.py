"""Boxes move with their photos' pixels, and a photo is right only if all its products are found."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.common.config import DataConfig
from fedshelf.common.images.augment import BatchBounds, DrawStream
from fedshelf.common.metrics.formulas import METRICS
from fedshelf.common.scenes.centre_loss import centre_targets
from fedshelf.common.scenes.difficult import DIFFICULT
from fedshelf.common.tasks import TASKS, task_of
from fedshelf.common.tasks.boxes import true_boxes
from tests.helpers.model_specs import described

BOXES = TASKS["boxes"]
MASKS = TASKS["masks"]
SIDE = 24


def numbers(config: DataConfig, photos: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(DrawStream(config, seed, 1, "oslo").take(photos))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), flip=st.booleans(), crop=st.integers(0, 6))
def test_a_box_stays_around_its_rectangle(seed: int, flip: bool, crop: int) -> None:
    """A bright rectangle is found again by its pixels, wherever flip and crop moved it."""
    config = DataConfig(flip=flip, crop=crop)
    random = np.random.default_rng(seed)
    left, top = random.integers(crop + 1, SIDE - 8 - crop, 2).tolist()
    box = [left, top, left + 7, top + 6]
    pixels = torch.zeros(3, SIDE, SIDE, 1, dtype=torch.uint8)
    pixels[:, box[1] : box[3], box[0] : box[2]] = 200
    boxes = torch.tensor([[[*box, 0.0], [0, 0, 0, 0, 0]]]).repeat(3, 1, 1)
    masks = (pixels[..., 0] > 0).to(torch.uint8)
    drawn = numbers(config, 3, seed)
    moved, targets, blend = BOXES.augment(pixels, boxes, config, drawn, BatchBounds(0, 3))
    assert blend is None
    for photo, rows in zip(moved, targets, strict=True):
        bright = (photo[..., 0] > 100).nonzero()
        (low, high) = bright.amin(0), bright.amax(0) + 1
        assert rows[0, :4].tolist() == [low[1], low[0], high[1], high[0]]
        assert len(true_boxes(rows)) == 1
    moved, masks, _ = MASKS.augment(pixels, masks, config, drawn, BatchBounds(0, 3))
    assert torch.equal(masks > 0, moved[..., 0] > 100)


def perfect_map(boxes: torch.Tensor) -> torch.Tensor:
    """Return the map of 12 by 12 cells that tells boxes [1, K, 5]."""
    told = centre_targets(boxes, 1, 4, 12, 12)
    x, y = torch.arange(12) + 0.5, torch.arange(12)[:, None] + 0.5
    left, top, right, bottom = told.corners.unbind(1)
    edges = torch.stack([x - left, y - top, right - x, bottom - y], 1).clamp_min(0.01).log()
    return torch.cat([torch.where(told.heat == 1, 9.0, -9.0), edges], 1)


def test_a_box_that_a_crop_takes_away_is_padding() -> None:
    config = DataConfig(crop=6)
    boxes = torch.tensor([[[0.0, 0, 5, 5, 0], [8, 8, 16, 16, 0]]]).repeat(60, 1, 1)
    pixels = torch.zeros(60, SIDE, SIDE, 1, dtype=torch.uint8)
    moved = BOXES.augment(pixels, boxes, config, numbers(config, 60, 3), BatchBounds(0, 60))[1]
    left = [len(true_boxes(rows)) for rows in moved]
    assert set(left) == {1, 2}
    assert (moved[..., :4] >= 0).all()
    assert (moved[..., :4] <= SIDE).all()


@pytest.mark.parametrize(
    ("shift", "further", "is_right"),
    [(0, False, True), (1, False, True), (8, False, False), (0, True, False)],
)
def test_a_photo_is_right_if_all_products_are_found_and_nothing_else(
    shift: int, further: bool, is_right: bool
) -> None:
    boxes = torch.tensor([[[4.0, 4, 16, 16, 0], [24, 20, 40, 40, 0]]])
    there = boxes.clone()
    there[:, 0, :4] += shift
    if further:
        there = torch.cat([there, torch.tensor([[[2.0, 28, 14, 44, 0]]])], 1)
    counts = BOXES.count(perfect_map(there), boxes, torch.tensor([2.5]))
    assert (counts.num_examples, counts.accuracy, counts.loss) == (1, float(is_right), 2.5)
    assert counts.metrics.keys() == {"ap", "count"}


@pytest.mark.parametrize("is_found", [True, False])
def test_a_difficult_product_is_neither_missed_nor_wrong(is_found: bool) -> None:
    boxes = torch.tensor([[[4.0, 4, 16, 16, 0], [24, 20, 40, 40, DIFFICULT]]])
    told = boxes.clone()
    told[:, 1, 4] = 0
    counts = BOXES.count(perfect_map(told[:, : 1 + is_found]), boxes, torch.tensor([2.5]))
    assert counts.accuracy == 1
    assert METRICS["ap"].values(counts.metrics["ap"], counts)["ap_75"] == 1
    assert METRICS["count"].values(counts.metrics["count"], counts)["count_error"] == 0


@pytest.mark.parametrize(
    ("name", "task"), [("cnn", "classes"), ("locator", "boxes"), ("unet", "masks")]
)
def test_the_network_decides_the_task(name: str, task: str) -> None:
    assert task_of(described(name, size=48)) is TASKS[task]
