"""Pairs of classes by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw
from hypothesis.extra import numpy as arrays

from fedshelf.common.metrics.confusions import most_confused


def test_pairs_count_mistakes_both_ways() -> None:
    # boots: 6 right, 3 taken for sneakers, 1 for a hat; sneakers: 2 of 5 taken for boots; hats: all
    # 4 right
    found = most_confused(("boot", "sneaker", "hat"), [[6, 3, 1], [2, 3, 0], [0, 0, 4]])
    assert [pair["images"] for pair in found] == [5, 1]
    assert found[0]["ways"] == [
        {"class": "boot", "taken_for": "sneaker", "images": 3, "of": 10, "share": 0.3},
        {"class": "sneaker", "taken_for": "boot", "images": 2, "of": 5, "share": 0.4},
    ]
    assert [way["class"] for way in found[1]["ways"]] == ["boot", "hat"]


def test_a_class_without_images_that_others_are_taken_for() -> None:
    (pair,) = most_confused(("boot", "hat"), [[0, 0], [2, 1]])
    assert [(way["class"], way["images"], way["of"], way["share"]) for way in pair["ways"]] == [
        ("hat", 2, 3, pytest.approx(2 / 3)),
        ("boot", 0, 0, 0.0),
    ]


@given(arrays.arrays(np.int64, (5, 5), elements=draw.integers(0, 9)))
def test_all_pairs_together_are_all_mistakes(confusion: np.ndarray) -> None:
    found = most_confused("abcde", confusion, max_pairs=100)
    assert sum(pair["images"] for pair in found) == confusion.sum() - confusion.trace()
    assert [pair["images"] for pair in found] == sorted(
        (pair["images"] for pair in found), reverse=True
    )
    assert most_confused("abcde", confusion, max_pairs=2) == found[:2]
    assert all(pair["images"] == sum(way["images"] for way in pair["ways"]) > 0 for pair in found)
