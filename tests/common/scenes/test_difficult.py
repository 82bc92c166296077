"""Products that are hardly seen are neither asked for, nor is it wrong to find them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.difficult import DIFFICULT, counted

WHOLE, HIDDEN = [0.0, 0, 10, 10], [4.0, 0, 14, 10]  # their overlap is 60 / 140
TRUE = Boxes.drawn(np.array([WHOLE, HIDDEN]), np.array([-1, DIFFICULT]))


def scored(*rows: tuple[float, ...]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4], np.full(len(table), -1), table[:, 4])


@pytest.mark.parametrize(
    ("boxes", "kept"),
    [
        ([(*WHOLE, 0.9), (*HIDDEN, 0.8)], [0]),
        # the second one on a product is wrong, whatever it is: only one may be there
        ([(*HIDDEN, 0.9), (*HIDDEN, 0.8)], [1]),
        ([(*WHOLE, 0.9), (*WHOLE, 0.8)], [0, 1]),
        # 80 / 120 with both: the product that counts comes first, then the other one
        ([(2.0, 0, 12, 10, 0.9)], [0]),
        ([(2.0, 0, 12, 10, 0.9), (2.0, 0, 12, 10, 0.8)], [0]),
        ([(30.0, 0, 40, 10, 0.9)], [0]),
        ([], []),
    ],
)
def test_a_box_on_a_difficult_product_alone_is_left_out(
    boxes: list[tuple[float, ...]], kept: list[int]
) -> None:
    found, true = counted(scored(*boxes), TRUE)
    assert true.corners.tolist() == [WHOLE]
    assert found.scores.tolist() == scored(*(boxes[place] for place in kept)).scores.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_without_difficult_products_everything_counts(seed: int) -> None:
    random = np.random.default_rng(seed)
    low = random.integers(0, 12, (9, 2))
    corners = np.hstack([low, low + random.integers(3, 9, (9, 2))]).astype(np.float32)
    found = Boxes(corners, np.full(9, -1), random.random(9, np.float32))
    true = Boxes.drawn(corners[random.permutation(9)[:5]], random.integers(-1, 3, 5))
    all_found, all_true = counted(found, true)
    assert (all_found.corners == found.corners).all()
    assert (all_true.corners == true.corners).all()
