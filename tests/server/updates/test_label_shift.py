"""The sign for a list of classes that is shifted by one, with gradients set by hand."""

import json

import numpy as np
import pytest
import torch

from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES
from fedshelf.common.parameters.layout import Layout
from fedshelf.server.updates.label_shift import (
    GAP_RIDGE,
    MAX_COORDINATES,
    MEAN_ROUNDS,
    MIN_CLASS_IMAGES,
    ShiftEvidence,
    gains,
    guesses,
    spans,
)

CLASSES = 3
GUESSES = guesses(np.repeat(np.arange(CLASSES), MIN_CLASS_IMAGES), CLASSES)
GRADIENTS = dict(zip(GUESSES, np.eye(len(GUESSES)), strict=True))  # each along an axis of its own
COUNTS = np.array([[0.0, 3.0, 4.0]])
RIGHT = -(3 * GRADIENTS[1, 1] + 4 * GRADIENTS[2, 2]) / 5
SHIFTED = -(3 * GRADIENTS[0, 1] + 4 * GRADIENTS[1, 2]) / 5


def test_each_class_with_enough_test_images_is_guessed_to_have_its_label_or_the_next() -> None:
    assert GUESSES == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 0)]
    few = np.repeat(np.arange(CLASSES), [MIN_CLASS_IMAGES, MIN_CLASS_IMAGES - 1, MIN_CLASS_IMAGES])
    assert guesses(few, CLASSES) == [(0, 0), (0, 1), (2, 2), (2, 0)]


@pytest.mark.parametrize(
    ("update", "gain"),
    [(RIGHT, -1.0), (SHIFTED, 1.0), (RIGHT + SHIFTED, 0.0), (9 * SHIFTED, 1.0), (-SHIFTED, -1.0)],
)
def test_an_update_gains_by_the_guess_that_it_is_along(update: np.ndarray, gain: float) -> None:
    (found,) = gains(update[None], GRADIENTS, COUNTS)
    assert found == pytest.approx((gain, 1.0))


def test_guesses_that_are_nearly_the_same_have_a_small_gap() -> None:
    alike = {
        **GRADIENTS,
        (0, 1): GRADIENTS[1, 1],
        (1, 2): 3 * GRADIENTS[2, 2] + 4 * GRADIENTS[1, 2],
    }
    (found,) = gains(SHIFTED[None], alike, COUNTS)
    assert found is not None
    assert found[1] == pytest.approx(1 - (9 + 16 * 3) / (5 * np.sqrt(9 + 16 * 25)))


def test_nothing_is_said_of_an_update_that_changed_nothing_or_of_classes_that_are_not_known() -> (
    None
):
    assert gains(np.zeros((1, len(GUESSES))), GRADIENTS, COUNTS) == [None]
    known = {guess: gradient for guess, gradient in GRADIENTS.items() if guess[0] != 2}
    assert gains(RIGHT[None], known, COUNTS) == [None]  # of class 2 are four of seven images
    (found,) = gains(RIGHT[None], known, np.array([[0.0, 4.0, 3.0]]))
    assert found is not None


def test_gradients_that_are_not_finite_are_no_evidence() -> None:
    assert gains(RIGHT[None], {**GRADIENTS, (0, 1): np.full(len(GUESSES), np.nan)}, COUNTS) == [
        None
    ]


def test_evidence_is_a_mean_of_rounds_that_survives_a_restart() -> None:
    evidence = ShiftEvidence().after(0.25, 0.125).after(0.0, 0.375)
    assert evidence == ShiftEvidence(2, 0.125, 0.25)
    assert evidence.lead == pytest.approx(0.125 / (0.25 + GAP_RIDGE))
    line = json.loads(json.dumps({"rounds": 2, "likeness": [], "shift": evidence.to_record()}))
    assert ShiftEvidence.of(line) == evidence
    assert (
        ShiftEvidence.of({"rounds": 2, "likeness": []}) == ShiftEvidence.of(None) == ShiftEvidence()
    )
    for _ in range(MEAN_ROUNDS * 20):
        evidence = evidence.after(-0.3, 0.3)
    assert (evidence.rounds, evidence.gain) == (MEAN_ROUNDS, pytest.approx(-0.3))


def layout(body: int) -> Layout:
    """Weights below and above a head of two classes, then a buffer."""
    names = ("body", "head.weight", "head.bias", "scale", "buffer")
    shapes = (
        torch.Size([body]),
        torch.Size([2, 3]),
        torch.Size([2]),
        torch.Size([5]),
        torch.Size([7]),
    )
    return Layout(names, shapes, body + 13, body + 20, "head")


def test_all_that_trains_but_the_head_is_looked_at_in_long_vectors_in_part() -> None:
    assert spans(layout(10), 26) == [slice(0, 10), slice(18, 23)]
    long = spans(layout(MAX_COORDINATES), 26)
    assert [span.start for span in long[:3]] == [0, 27 * BLOCK_COORDINATES, 54 * BLOCK_COORDINATES]
    assert sum(span.stop - span.start for span in long) * 26 <= MAX_COORDINATES
