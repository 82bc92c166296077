"""Whether an update teaches what labels say: images whose scores are set by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw

from server.mislabelling import ENOUGH, KEPT, REMEMBERED, Effect, Evidence, ahead, chance, classes_of, effect, knows

TARGETS = np.repeat(np.arange(3), 10)  # ten images of each of three classes
EVEN = np.full(3, 100.0)
BEFORE = np.zeros((30, 3))


def taught(*wrong: int) -> np.ndarray:
    """Scores after an update that raises for each image that of the class which it holds to be its own: wrong[true]."""
    after = BEFORE.copy()
    after[np.arange(30), np.array(wrong)[TARGETS]] += 1
    return after


def test_ahead_by_hand() -> None:
    assert ahead(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.5
    assert ahead(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == -0.5
    assert ahead(np.array([1.0, 1.0]), np.array([1.0])) == 0
    assert ahead(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == pytest.approx(-0.25)  # one of four pairs is in order


def test_chance_by_hand() -> None:
    assert chance(1, 1) == pytest.approx(0.5)
    assert chance(50, 50) == pytest.approx(0.0580, abs=1e-4)


def test_a_class_is_a_stores_with_enough_images() -> None:
    assert classes_of(np.array([100.0, 25.0, 5.0])) == [0, 1]  # half of an even mix are 21.7
    assert classes_of(np.array([10.0, 10.0, 10.0])) == []
    assert len(classes_of(np.full(30, 100.0))) == 10


def test_right_labels_and_exchanged_ones_by_hand() -> None:
    right = effect(BEFORE, taught(0, 1, 2), TARGETS, EVEN)
    assert right.pairs == {(0, 1): 0.5, (0, 2): 0.5, (1, 2): 0.5}
    assert right.labels == pytest.approx(0.5 + 25 / 30 - 10 / 30)  # own images have the last ten of 30 places
    exchanged = effect(BEFORE, taught(1, 0, 2), TARGETS, EVEN)
    assert exchanged.pairs[0, 1] == -0.5
    assert exchanged.labels == 0  # two of three pairs are in order, but classes 0 and 1 lag behind each other
    shifted = effect(BEFORE, taught(1, 2, 0), TARGETS, EVEN)
    assert shifted.labels < -0.5


def test_a_store_with_one_class_is_judged_by_all_others_and_one_with_too_few_images_is_not() -> None:
    only = np.array([0.0, 300.0, 0.0])
    right, wrong = (effect(BEFORE, taught(*to), TARGETS, only) for to in ((0, 1, 2), (1, 0, 2)))
    assert right.pairs == wrong.pairs == {}
    assert right.labels > 0.5
    assert wrong.labels < -0.5
    assert effect(BEFORE, taught(0, 1, 2), TARGETS, EVEN / 10) == Effect()


@given(draw.tuples(*[draw.integers(-5, 5)] * 3))
def test_raising_a_class_for_all_images_changes_nothing(shift: tuple[int, ...]) -> None:
    """As a mix of classes does. Halves add up without rounding."""
    before = np.random.default_rng(0).integers(-4, 4, (30, 3)) / 2
    after = before + taught(0, 2, 1) + np.random.default_rng(1).integers(-2, 2, (30, 3)) / 2
    assert effect(before, after + np.array(shift), TARGETS, EVEN).pairs == effect(before, after, TARGETS, EVEN).pairs


def told(score: float) -> Effect:
    """Of a store with two classes."""
    return Effect({(0, 1): score}, {0: score, 1: score}, {0: 0.5, 1: 0.5})


def test_a_model_knows_something_from_a_share_of_right_images_on() -> None:
    right, guess = taught(0, 1, 2), taught(0, 0, 0)
    assert knows(right, TARGETS)
    assert not knows(guess, TARGETS)  # a third, as by chance


def test_evidence_grows_with_rounds_and_fades() -> None:
    bad, good, evidence, images = told(-0.3), told(0.4), Evidence(), [50, 50]
    said = []
    for _ in range(ENOUGH):
        evidence = evidence.after(bad)
        said.append((evidence.exchanged(images) is not None, evidence.is_wrong))
    assert said[0] == (False, False)
    assert said[-1] == (True, True)
    assert evidence.exchanged(images) == (0, 1)
    assert evidence.exchanged([1, 1]) is None  # of two images nobody can tell
    for _ in range(REMEMBERED):
        evidence = evidence.after(good)
    assert (evidence.exchanged(images), evidence.is_wrong, evidence.rounds) == (None, False, REMEMBERED)
    assert evidence.after(Effect()) == evidence


def test_evidence_follows_the_worst_pairs_and_reads_back() -> None:
    pairs = {(0, other): 0.1 * other - 0.25 for other in range(1, 6)}
    seen = Effect(pairs, dict.fromkeys(range(6), 0.0), dict.fromkeys(range(6), 1 / 6))
    evidence = Evidence().after(seen).after(seen)
    assert list(evidence.pairs) == [(0, 1), (0, 2), (0, 3)]
    assert len(evidence.pairs) == KEPT
    assert Evidence.of(json.loads(json.dumps(evidence.in_record()))).in_record() == evidence.in_record()
    assert Evidence.of(None) == Evidence()
