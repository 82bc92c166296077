"""Drawn shelves: boxes and masks are those of the products in the photo, for any style and side."""

import numpy as np
import pytest

from fedshelf.common.scenes.boxes import overlaps
from fedshelf.common.scenes.difficult import DIFFICULT
from fedshelf.simulations.datasets.scenes import HIDDEN, SHELF_STYLES, DrawnScenes, draw_scenes
from fedshelf.simulations.datasets.scenes.shelf_scenes import padded


@pytest.fixture(scope="module", params=sorted(SHELF_STYLES))
def scenes(request) -> DrawnScenes:
    return draw_scenes(3, 96, seed=1, products=("can", "bowl", "box"), style=request.param)


def test_every_box_is_around_the_pixels_of_its_item(scenes: DrawnScenes) -> None:
    assert sum(map(len, scenes.boxes)) > 6
    for boxes, items in zip(scenes.boxes, scenes.items, strict=True):
        assert set(np.unique(items)) - {0, HIDDEN} <= set(range(1, len(boxes) + 1))
        for number, corners in enumerate(boxes.corners, start=1):
            rows, columns = np.nonzero(items == number)
            found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            # half a pixel of resolution, and splinters that a box leaves out
            assert np.abs(corners - np.array(found)).max() <= 2


def test_no_box_leaves_the_photo_or_stands_twice(scenes: DrawnScenes) -> None:
    for boxes in scenes.boxes:
        assert boxes.corners.min(initial=0) >= 0
        assert boxes.corners.max(initial=0) <= 96
        assert (boxes.corners[:, 2:] - boxes.corners[:, :2]).min(initial=3) >= 3
        assert (overlaps(boxes, boxes) > 0.95).sum() == len(boxes)


def test_products_of_which_less_than_half_is_seen_are_difficult(scenes: DrawnScenes) -> None:
    shares = np.concatenate(scenes.seen)
    # the view enlarges one side of a canvas more than the other, so a share may be above 1
    assert shares.min() >= 0.3
    assert 0.9 < shares.max() < 1.6
    rows = padded(scenes.boxes, scenes.seen)
    for row, boxes, seen in zip(rows, scenes.boxes, scenes.seen, strict=True):
        assert (row[: len(boxes), 4] == np.where(seen < 0.5, DIFFICULT, boxes.classes)).all()
        assert not row[len(boxes) :].any()


def test_a_mask_has_the_class_of_each_box(scenes: DrawnScenes) -> None:
    for boxes, items, mask in zip(scenes.boxes, scenes.items, scenes.masks, strict=True):
        assert ((mask == HIDDEN) == (items == HIDDEN)).all()
        assert ((mask == 0) == (items == 0)).all()
        for number, label in enumerate(boxes.classes.tolist(), start=1):
            assert set(np.unique(mask[items == number])) == {label + 1}


def test_more_scenes_begin_with_the_same_ones() -> None:
    few, more = draw_scenes(2, 48, seed=5), draw_scenes(34, 48, seed=5)
    assert (more.photos[:2] == few.photos).all()
    assert (more.boxes[1].corners == few.boxes[1].corners).all()
    assert len({photo.tobytes() for photo in more.photos}) == 34


def test_products_and_styles_are_those_asked_for() -> None:
    one = draw_scenes(6, 48, seed=5, products=("tube",), style="gondola")
    other = draw_scenes(6, 48, seed=6, products=("tube",), style="fridge")
    assert {label for boxes in one.boxes for label in boxes.classes.tolist()} == {0}
    # a fridge is dark
    assert one.photos.mean() > 1.3 * other.photos.mean()


def test_no_scene_at_all() -> None:
    none = draw_scenes(0, 48, seed=0)
    assert none.photos.shape == (0, 48, 48, 3)
    assert none.masks.shape == none.items.shape == (0, 48, 48)
    assert none.boxes == []
