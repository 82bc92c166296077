"""The looks of the images of a store's labels, by its training of the head: features and changes
set by hand.
"""

import json
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.server.updates.mislabelling import (
    MAX_FOLLOWED_CLASSES,
    MEAN_ROUNDS,
    SHOWN,
    LabelEvidence,
    Looks,
    classes_of,
)

EVEN = np.full(3, 100.0)
TARGETS = np.repeat(np.arange(3), SHOWN)
NEAR = np.tile([[0.1], [-0.1]], (len(TARGETS) // 2, 3))  # both sides of each mean alike
FEATURES = np.eye(3)[TARGETS] * 6 + 1 + NEAR  # class k shines in feature k


def looks() -> Looks:
    found = Looks.of(FEATURES, TARGETS)
    assert found is not None
    return found


def step(*true: int) -> np.ndarray:
    """One step of gradient descent on the head [3, 3] from equal probabilities, with an image of
    each label: its class is true[label].
    """
    images = np.eye(3)[list(true)] * 6 + 1
    return (np.eye(3) - 1 / 3).T @ images


def test_right_labels_look_like_their_classes() -> None:
    seen = looks().likeness(step(0, 1, 2), EVEN)
    for label in range(3):
        # 120 degrees
        assert seen[label] == pytest.approx(
            {like: 1 if like == label else -0.5 for like in range(3)}
        )
    evidence = LabelEvidence().after(seen)
    assert evidence.exchange_candidate() is None
    assert evidence.lead(EVEN) == pytest.approx(1.5)


def test_exchanged_labels_look_like_each_other() -> None:
    seen = looks().likeness(step(1, 0, 2), EVEN)
    assert [max(seen[label], key=lambda like: seen[label][like]) for label in range(3)] == [1, 0, 2]
    evidence = LabelEvidence().after(seen)
    assert evidence.exchange_candidate() == ((0, 1), pytest.approx(-1.5))
    # labels 0 and 1 are behind by 1.5, label 2 is ahead by 1.5
    assert evidence.lead(EVEN) == pytest.approx(-0.5)
    assert evidence.lead(np.array([1.0, 1.0, 100.0])) == pytest.approx(1.5 * 98 / 102)


def test_shifted_labels_look_wrong() -> None:
    seen = looks().likeness(step(1, 2, 0), EVEN)
    assert [max(seen[label], key=lambda like: seen[label][like]) for label in range(3)] == [1, 2, 0]
    assert LabelEvidence().after(seen).lead(EVEN) == pytest.approx(-1.5)


def test_two_classes_look_exchanged_if_the_images_of_both_look_more_like_the_other() -> None:
    one_way = {0: {0: -0.5, 1: 0.5}, 1: {0: 0.1, 1: 0.2}}  # -0.45 in the mean, but 1 is more like 1
    assert LabelEvidence(1, one_way).exchange_candidate() is None
    both = {0: {0: 0.0, 1: 0.4}, 1: {0: 0.3, 1: 0.0}}
    assert LabelEvidence(1, both).exchange_candidate() == ((0, 1), pytest.approx(-0.35))
    more = {**both, 2: {2: 0.0, 3: 0.5}, 3: {3: 0.0, 2: 0.6}}
    assert LabelEvidence(1, more).exchange_candidate() == ((2, 3), pytest.approx(-0.55))
    hardly = {0: {0: 0.0, 1: 0.16}, 1: {0: 0.12, 1: 0.0}}  # -0.14 in the mean
    assert LabelEvidence(1, hardly).exchange_candidate() is None
    not_followed = {0: {0: 0.0, 1: 0.4}, 1: {1: 0.0}}
    assert LabelEvidence(1, not_followed).exchange_candidate() is None


def test_a_single_class_is_told_from_all_others() -> None:
    only = np.array([0.0, 300.0, 0.0])
    # all have label 1
    change = {true: np.outer(np.eye(3)[1] - 1 / 3, np.eye(3)[true] * 6 + 1) for true in (1, 2)}
    right, wrong = (looks().likeness(change[true], only) for true in (1, 2))
    assert right.keys() == wrong.keys() == {1}
    assert right[1][1] == pytest.approx(1)
    assert wrong[1][2] == pytest.approx(1)
    assert wrong[1][1] == pytest.approx(-0.5)


@given(draw.tuples(*[draw.floats(-5, 5)] * 3), draw.floats(0.1, 10))
def test_what_all_rows_have_in_common_and_the_length_of_the_step_change_nothing(
    shift: tuple[float, ...], times: float
) -> None:
    change = step(0, 2, 1)
    seen, moved = (
        looks().likeness(rows, EVEN) for rows in (change, times * change + np.array(shift))
    )
    for label in range(3):
        assert moved[label] == pytest.approx(seen[label], abs=1e-6)


def test_nothing_is_said_without_a_change_or_of_classes_with_few_test_images() -> None:
    assert looks().likeness(np.zeros((3, 3)), EVEN) == {}
    assert looks().likeness(step(0, 1, 2), EVEN / 20) == {}  # five images of each
    # one image of the second class
    assert Looks.of(FEATURES[: SHOWN + 1], TARGETS[: SHOWN + 1]) is None
    assert Looks.of(FEATURES * np.inf, TARGETS) is None
    two = Looks.of(FEATURES[: 2 * SHOWN], TARGETS[: 2 * SHOWN])
    assert two is not None
    assert {label: set(likes) for label, likes in two.likeness(step(0, 1, 2), EVEN).items()} == {
        0: {0, 1},
        1: {0, 1},
    }


def test_a_class_is_a_stores_with_enough_images() -> None:
    assert classes_of(np.array([100.0, 25.0, 5.0])) == [0, 1]  # half of an even mix are 21.7
    assert classes_of(np.array([9.0, 9.0, 9.0])) == []
    assert classes_of(np.array([60.0, 10.0, 9.0, 1.0])) == [0, 1]  # half of an even mix are 10
    assert classes_of(np.array([60.0, 9.0, 1.0])) == [0]
    assert classes_of(np.array([20.0, 9.0, 9.0, 9.0])) == []
    assert len(classes_of(np.full(30, 100.0))) == 10


def told(right: float, wrong: float) -> Mapping[int, Mapping[int, float]]:
    """Of a store with labels 0 and 1: cosines with the right class and with the other."""
    return {0: {0: right, 1: wrong}, 1: {0: wrong, 1: right}}


def test_evidence_is_a_mean_that_fades() -> None:
    evidence = LabelEvidence().after(told(-0.5, 0.5)).after(told(0.5, -0.3))
    assert evidence.rounds == 2
    assert evidence.likeness[0] == pytest.approx({0: 0.0, 1: 0.1})
    assert evidence.likeness[1] == pytest.approx({0: 0.1, 1: 0.0})
    for _ in range(2 * MEAN_ROUNDS):
        evidence = evidence.after(told(1.0, 0.0))
    assert evidence.rounds == MEAN_ROUNDS
    assert evidence.likeness[0][0] > 0.9
    assert evidence.after({}) == evidence


def test_evidence_follows_what_a_label_is_most_like_and_reads_back() -> None:
    seen = {0: {like: like / 10 for like in range(MAX_FOLLOWED_CLASSES + 3)}}
    evidence = LabelEvidence().after(seen).after(seen)
    assert set(evidence.likeness[0]) == {0, *range(3, MAX_FOLLOWED_CLASSES + 3)}
    assert (
        LabelEvidence.of(json.loads(json.dumps(evidence.to_record()))).to_record()
        == evidence.to_record()
    )
    assert LabelEvidence.of(None) == LabelEvidence()


def test_evidence_of_an_earlier_version_says_nothing() -> None:
    assert (
        LabelEvidence.of({"rounds": 4, "labels": -0.1, "pairs": [[0, 1, -0.2]]}) == LabelEvidence()
    )
