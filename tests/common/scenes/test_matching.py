"""Each product is found by at most one box, and by the surest that fits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.common.scenes.boxes import Boxes, overlaps
from fedshelf.common.scenes.matching import match, match_at


def scored(*rows: tuple[float, ...]) -> Boxes:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4], np.full(len(table), -1), table[:, 4])


TRUE = Boxes.drawn(np.array([[0, 0, 10, 10], [12, 0, 22, 10]]))


def test_the_surest_box_takes_the_product_that_it_overlaps_most() -> None:
    found = scored((0, 0, 10, 9, 0.5), (0, 0, 10, 10, 0.9), (11, 0, 22, 10, 0.1))
    assert match(found, TRUE, 0.5).tolist() == [False, True, True]
    assert match(found, TRUE, 0.95).tolist() == [False, True, False]


def test_a_box_between_two_products_takes_one_alone() -> None:
    assert match(scored((0, 0, 22, 10, 0.9)), TRUE, 0.4).tolist() == [True]
    assert match(scored((0, 0, 22, 10, 0.9)), TRUE, 0.5).tolist() == [False]


def test_nothing_found_and_nothing_there() -> None:
    assert match(scored(), TRUE, 0.5).tolist() == []
    assert match(scored((0, 0, 5, 5, 1)), Boxes.drawn(np.zeros((0, 4))), 0.5).tolist() == [False]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_no_product_is_found_twice(seed: int) -> None:
    random = np.random.default_rng(seed)
    low = random.integers(0, 12, (9, 2))
    corners = np.hstack([low, low + random.integers(3, 9, (9, 2))]).astype(np.float32)
    found = Boxes(corners, np.full(9, -1), random.random(9, np.float32))
    true = Boxes.drawn(corners[random.permutation(9)[:5]])
    strict, loose = match_at(found, true, [0.99, 0.3])
    assert strict.sum() <= 5
    assert loose.sum() <= 5
    assert (overlaps(found, true).max(1)[loose] >= 0.3).all()
