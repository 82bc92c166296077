"""Guesses about the true classes of labels, with gradients set by hand."""

import json

import numpy as np
import pytest
import torch

from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES
from fedshelf.common.parameters.layout import Layout
from fedshelf.server.updates.label_guesses import (
    ALIKE,
    EXCHANGED,
    GAP_RIDGE,
    MAX_COORDINATES,
    MAX_FURTHER_GRADIENTS,
    MEAN_ROUNDS,
    MIN_CLASS_IMAGES,
    SHIFTED,
    GuessComparison,
    GuessedLabels,
    GuessEvidence,
    examination,
    exchanged,
    most_alike,
    shifted,
    spans,
    with_right_labels,
)
from fedshelf.server.updates.mislabelling import LabelEvidence

CLASSES = 3
TARGETS = np.repeat(np.arange(CLASSES), MIN_CLASS_IMAGES)
PAIRS = [(of, label) for of in range(CLASSES) for label in range(CLASSES)]
GRADIENTS = dict(zip(PAIRS, np.eye(len(PAIRS)), strict=True))  # each along an axis of its own
COUNTS = np.array([0.0, 3.0, 4.0])
RIGHT = -(3 * GRADIENTS[1, 1] + 4 * GRADIENTS[2, 2]) / 5
SHIFT = -(3 * GRADIENTS[0, 1] + 4 * GRADIENTS[1, 2]) / 5
EXCHANGE = -(3 * GRADIENTS[2, 1] + 4 * GRADIENTS[1, 2]) / 5


def test_a_guess_names_the_class_of_each_labels_images() -> None:
    assert shifted(CLASSES).tolist() == [2, 0, 1]
    assert exchanged((0, 2), 4).tolist() == [2, 1, 0, 3]
    likeness = {0: {0: 0.9, 1: 0.2, 3: 0.3}, 3: {3: 0.1, 2: 0.5}}
    assert most_alike(LabelEvidence(1, likeness), 4).tolist() == [3, 1, 2, 2]


def test_a_guess_needs_gradients_of_a_stores_labels_whose_classes_have_enough_test_images() -> None:
    assert with_right_labels(shifted(CLASSES), TARGETS, COUNTS) == {(1, 1), (0, 1), (2, 2), (1, 2)}
    few = np.repeat(np.arange(CLASSES), [MIN_CLASS_IMAGES, MIN_CLASS_IMAGES - 1, MIN_CLASS_IMAGES])
    assert with_right_labels(shifted(CLASSES), few, COUNTS) == {(0, 1), (2, 2)}


@pytest.mark.parametrize(
    ("update", "gain"),
    [(RIGHT, -1.0), (SHIFT, 1.0), (RIGHT + SHIFT, 0.0), (9 * SHIFT, 1.0), (-SHIFT, -1.0)],
)
def test_an_update_gains_by_the_guess_that_it_is_along(update: np.ndarray, gain: float) -> None:
    found = GuessComparison(update[None], GRADIENTS).gain(0, COUNTS, shifted(CLASSES))
    assert found == pytest.approx((gain, 1.0))


def test_guesses_about_one_update_are_told_apart() -> None:
    comparison = GuessComparison(np.stack([RIGHT, EXCHANGE]), GRADIENTS)
    swap = exchanged((1, 2), CLASSES)
    assert comparison.gain(0, COUNTS, swap) == pytest.approx((-1.0, 1.0))
    assert comparison.gain(1, COUNTS, swap) == pytest.approx((1.0, 1.0))
    # (3, 4) / 5 of the shift and of the exchange have the 4 in common
    assert comparison.gain(1, COUNTS, shifted(CLASSES)) == pytest.approx((16 / 25, 1.0))


def test_guesses_that_are_nearly_the_same_have_a_small_gap() -> None:
    alike = {
        **GRADIENTS,
        (0, 1): GRADIENTS[1, 1],
        (1, 2): 3 * GRADIENTS[2, 2] + 4 * GRADIENTS[1, 2],
    }
    found = GuessComparison(SHIFT[None], alike).gain(0, COUNTS, shifted(CLASSES))
    assert found is not None
    assert found[1] == pytest.approx(1 - (9 + 16 * 3) / (5 * np.sqrt(9 + 16 * 25)))


def test_nothing_is_said_of_an_update_that_changed_nothing_or_of_classes_that_are_not_known() -> (
    None
):
    shift = shifted(CLASSES)
    assert GuessComparison(np.zeros((1, 9)), GRADIENTS).gain(0, COUNTS, shift) is None
    known = {pair: gradient for pair, gradient in GRADIENTS.items() if pair[0] != 2}
    comparison = GuessComparison(RIGHT[None], known)
    assert comparison.gain(0, COUNTS, shift) is None  # of class 2 are four of seven images
    assert comparison.gain(0, np.array([0.0, 4.0, 3.0]), shift) is not None


def test_gradients_that_are_not_finite_are_no_evidence() -> None:
    broken = {**GRADIENTS, (0, 1): np.full(len(PAIRS), np.nan)}
    assert GuessComparison(RIGHT[None], broken).gain(0, COUNTS, shifted(CLASSES)) is None


def test_evidence_is_a_mean_of_rounds_that_survives_a_restart() -> None:
    evidence = GuessEvidence().after(0.25, 0.125).after(0.0, 0.375)
    assert evidence == GuessEvidence(2, 0.125, 0.25)
    assert evidence.lead == pytest.approx(0.125 / (0.25 + GAP_RIDGE))
    for _ in range(MEAN_ROUNDS * 20):
        evidence = evidence.after(-0.3, 0.3)
    assert (evidence.rounds, evidence.gain) == (MEAN_ROUNDS, pytest.approx(-0.3))

    guessed = GuessedLabels().about((1, 4)).after(SHIFTED, 0.25, 0.125).after(EXCHANGED, 0.5, 0.5)
    line = json.loads(json.dumps({"rounds": 1, "likeness": []} | guessed.to_record()))
    assert GuessedLabels.of(line) == guessed
    assert GuessedLabels.of({"rounds": 2, "likeness": []}) == GuessedLabels.of(None)
    assert GuessedLabels().lead(ALIKE) == 0


def test_evidence_on_an_exchange_is_of_one_pair() -> None:
    guessed = GuessedLabels().about((1, 4)).after(EXCHANGED, 0.5, 0.5).after(ALIKE, 0.25, 0.5)
    assert guessed.about((1, 4)) == guessed
    other = guessed.about((1, 2))
    assert (other.pair, other.lead(EXCHANGED), other.lead(ALIKE)) == (
        (1, 2),
        0,
        guessed.lead(ALIKE),
    )
    assert guessed.about(None).pair is None


def evidence_of(own: float, other: float) -> LabelEvidence:
    """Labels 1 and 2 have these cosines with their own class and with each other's."""
    return LabelEvidence(1, {1: {1: own, 2: other}, 2: {2: own, 1: other}})


def test_only_the_labels_that_the_head_doubts_are_examined_for_more_than_a_shift() -> None:
    counts = {"good": COUNTS, "odd": COUNTS}
    doubtful = {"good": evidence_of(0.5, 0.2), "odd": evidence_of(0.2, 0.5)}
    found = examination(doubtful, counts, TARGETS)
    assert {store: set(kinds) for store, kinds in found.guesses.items()} == {
        "good": {SHIFTED},
        "odd": {SHIFTED, EXCHANGED, ALIKE},
    }
    assert found.guesses["odd"][EXCHANGED].tolist() == [0, 2, 1]
    assert list(found.gradients) == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2)]


def test_the_greatest_doubts_are_examined_first_as_far_as_gradients_go() -> None:
    classes = 2 * MAX_FURTHER_GRADIENTS + 4
    targets = np.repeat(np.arange(classes), MIN_CLASS_IMAGES)
    even = np.ones(classes)
    doubts = {}
    for first in range(0, classes, 2):  # classes 0 and 1, 2 and 3, ...
        doubt = 0.2 + first / classes / 2
        pair = {first: {first: 0.0, first + 1: doubt}, first + 1: {first + 1: 0.0, first: doubt}}
        doubts[f"s{first:02d}"] = LabelEvidence(1, pair)
    found = examination(doubts, dict.fromkeys(doubts, even), targets)
    # one more gradient each: the first class as the second label is needed for a shift
    left = [store for store, kinds in found.guesses.items() if EXCHANGED not in kinds]
    assert left == ["s00", "s02"]
    assert len(found.gradients) == 2 * classes + MAX_FURTHER_GRADIENTS


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
