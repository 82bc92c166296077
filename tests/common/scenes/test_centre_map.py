"""Boxes from a map: peaks, scores, tight corners, and one box for one product."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.common.scenes.centre_map import boxes_of_map


def empty_map(classes: int = 1, height: int = 6, width: int = 8) -> np.ndarray:
    """Return a map without products, in which each cell tells a box of its own cell."""
    found = np.full((classes + 4, height, width), -9.0, np.float32)
    found[classes:] = np.log(0.5)
    return found


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def test_an_empty_map_has_no_boxes() -> None:
    assert len(boxes_of_map(empty_map(), 4)) == 0


def test_a_single_cell_tells_score_and_corners() -> None:
    centre_map = empty_map()
    centre_map[0, 2, 3] = 40
    centre_map[1:, 2, 3] = np.log([1.5, 0.5, 2.5, 3.5])
    boxes = boxes_of_map(centre_map, 4)
    assert boxes.scores.tolist() == [1.0]
    assert boxes.classes.tolist() == [-1]
    # the middle of the cell is 3.5, 2.5; cells of 4 pixels
    assert boxes.corners[0] == pytest.approx([8, 8, 24, 24], abs=0.05)


def test_the_box_is_the_mean_over_cells_by_their_scores() -> None:
    centre_map = empty_map()
    centre_map[0, 2, 3] = logit(0.6)
    centre_map[0, 2, 4] = logit(0.3)
    centre_map[1, 2, 3:5] = np.log([1.5, 2.2])  # left edges at 3.5 - 1.5 and 4.5 - 2.2 cells
    boxes = boxes_of_map(centre_map, 10, least_score=0.2)
    assert boxes.scores.tolist() == pytest.approx([0.6])
    assert boxes.corners[0, 0] == pytest.approx(10 * (2.0 * 0.6 + 2.3 * 0.3) / 0.9, abs=0.1)


def test_boxes_come_surest_first_and_stay_on_the_photo() -> None:
    centre_map = empty_map()
    centre_map[0, 0, 0], centre_map[0, 5, 7] = logit(0.4), logit(0.8)
    centre_map[1:, 0, 0] = centre_map[1:, 5, 7] = 2
    boxes = boxes_of_map(centre_map, 4, max_overlap=1)
    assert boxes.scores.tolist() == pytest.approx([0.8, 0.4])
    assert boxes.corners.min() == 0
    assert boxes.corners[:, 2].max() == 8 * 4
    assert boxes.corners[:, 3].max() == 6 * 4


def test_the_less_sure_of_two_boxes_of_one_product_goes() -> None:
    centre_map = empty_map(classes=2)
    for label, column, score in ((0, 2, 0.9), (0, 4, 0.8), (1, 3, 0.7)):
        centre_map[label, 3, column] = logit(score)
    centre_map[2:, 2:5, 1:6] = 2.0
    assert boxes_of_map(centre_map, 4).classes.tolist() == [0]  # whatever the others' classes
    assert boxes_of_map(centre_map, 4, max_overlap=1).classes.tolist() == [0, 0, 1]
    assert boxes_of_map(centre_map, 4, max_overlap=1, max_boxes=1).classes.tolist() == [0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3]), st.floats(0.05, 0.9))
def test_any_map_gives_sound_boxes(seed: int, classes: int, least: float) -> None:
    values = 30 * np.random.default_rng(seed).standard_normal((classes + 4, 5, 7))
    boxes = boxes_of_map(values.astype(np.float32), 4, least_score=least)
    assert np.isfinite(boxes.corners).all()
    assert (boxes.corners >= 0).all()
    assert (boxes.corners[:, 2:] >= boxes.corners[:, :2]).all()
    assert (boxes.corners <= [28, 20, 28, 20]).all()
    assert (boxes.scores >= least).all()
    assert (np.diff(boxes.scores) <= 0).all()
