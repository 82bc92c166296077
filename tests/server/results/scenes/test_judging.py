"""Photos judged by hand, and the choice of those that a report shows."""

import numpy as np
import pytest

from fedshelf.common.metrics.formulas.mean_iou import HIDDEN
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.server.results.scenes.judging import (
    MISSED,
    RIGHT,
    WRONG,
    JudgedPhoto,
    box_outcomes,
    choose,
    judge,
    pixel_outcomes,
)

TRUE = Boxes.drawn(np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]))


def guessed(corners: list[list[float]], scores: list[float]) -> Boxes:
    return Boxes(
        np.array(corners, np.float32).reshape(-1, 4),
        np.full(len(scores), -1),
        np.array(scores, np.float32),
    )


def test_boxes_are_found_missed_and_wrong() -> None:
    guess = guessed(
        # on the first product, on it again, beside the second, on the third but not sure enough
        [[0, 0, 10, 9], [0, 0, 10, 10], [27, 0, 37, 10], [40, 0, 50, 10]],
        [0.9, 0.8, 0.7, 0.2],
    )
    outcomes = box_outcomes(guess, TRUE, 0.5)
    assert outcomes.found.corners.tolist() == [[0, 0, 10, 9]]
    assert outcomes.wrong.corners.tolist() == [[0, 0, 10, 10], [27, 0, 37, 10]]
    assert outcomes.missed.corners.tolist() == TRUE.corners[1:].tolist()
    # 2 x 1 / (2 x 1 + 2 missed + 2 wrong)
    assert judge(guess, TRUE, 0.5, 1) == JudgedPhoto(pytest.approx(1 / 3), 1, 2, 2)


def test_an_empty_photo_without_boxes_is_all_right() -> None:
    assert judge(guessed([], []), Boxes.drawn(np.zeros((0, 4))), 0.5, 1) == JudgedPhoto(
        1.0, 0, 0, 0
    )


def test_hidden_pixels_count_nowhere() -> None:
    true = np.array([[1, 1, 0, 0], [HIDDEN, HIDDEN, 0, 0]], np.uint8)
    guess = np.array([[1, 0, 1, 0], [1, 0, 0, 0]], np.uint8)
    assert pixel_outcomes(guess, true).tolist() == [[RIGHT, MISSED, WRONG, 0], [0, 0, 0, 0]]
    # products: 1 of 3 pixels; background: 3 of 5
    assert judge(guess, true, 0.5, 2) == JudgedPhoto(pytest.approx((1 / 3 + 3 / 5) / 2), 1, 1, 1)


def test_a_box_of_another_class_has_found_nothing() -> None:
    corners = TRUE.corners[:2]
    true = Boxes.drawn(corners, np.array([0, 1]))
    guess = Boxes(corners, np.array([0, 0]), np.array([0.9, 0.8], np.float32))
    assert judge(guess, true, 0.5, 2) == JudgedPhoto(0.5, 1, 1, 1)
    # a product is a product: both are found
    assert judge(guess, true, 0.5, 1) == JudgedPhoto(1.0, 2, 0, 0)


def test_pixels_of_another_class_are_wrong() -> None:
    true = np.array([[1, 2, 2, 0], [2, HIDDEN, 0, 0]], np.uint8)
    guess = np.array([[1, 1, 2, 2], [0, 2, 0, 0]], np.uint8)
    outcomes = [[RIGHT, WRONG, RIGHT, WRONG], [MISSED, 0, 0, 0]]
    assert pixel_outcomes(guess, true).tolist() == outcomes
    # background: 2 of 4 pixels; the first product: 1 of 2; the second: 1 of 4
    quality = pytest.approx((2 / 4 + 1 / 2 + 1 / 4) / 3)
    assert judge(guess, true, 0.5, 3) == JudgedPhoto(quality, 2, 1, 2)


def test_the_worst_the_middle_and_the_best_are_chosen_once_each() -> None:
    photos = [JudgedPhoto(place / 20, 5, 20 - place, 0) for place in range(21)]
    assert choose(photos) == {
        "worst": [0, 1, 2, 3],
        "middle": [10, 9, 11, 8],
        "best": [20, 19, 18, 17],
    }


def test_of_equal_photos_those_that_teach_most_are_chosen() -> None:
    photos = [JudgedPhoto(0.0, 0, missed, 1) for missed in (1, 9, 4)]
    photos += [JudgedPhoto(1.0, right, 0, 0) for right in (2, 8, 5)]
    # two of each: those with most mistakes, those with most products
    assert choose(photos) == {"worst": [1, 2], "middle": [0, 3], "best": [4, 5]}


@pytest.mark.parametrize("count", range(6))
def test_few_photos_are_shown_all_of_them(count: int) -> None:
    chosen = choose([JudgedPhoto(0.5, 1, 1, 1)] * count)
    assert sorted(place for places in chosen.values() for place in places) == list(range(count))
