"""A partition of a person's own: which answers count, and which are refused."""

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest

from fedshelf.common import own_objects, plugins
from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions import partition
from fedshelf.simulations.partitions.matching_split import assign_alike

LABELS = np.array([0, 0, 1, 1, 2, 2])


def split(function: Callable[..., Any], stores: int = 2) -> list[list[int]]:
    own_objects.register(plugins.PARTITION.group, "python:mine", function)
    return [rows.tolist() for rows in partition("python:mine", LABELS, stores, seed=3)]


def test_positions_come_back_ascending_and_images_may_be_left_out() -> None:
    assert split(lambda *_: [[4, 0], np.array([3])]) == [[0, 4], [3]]


def test_it_draws_from_the_seed_and_cannot_change_the_labels() -> None:
    def shuffled(labels: Any, stores: int, rng: np.random.Generator) -> list[Any]:
        labels[:] = 0
        return np.array_split(rng.permutation(len(labels)), stores)

    assert split(shuffled) == split(shuffled)
    assert sorted(chain.from_iterable(split(shuffled))) == list(range(6))
    assert LABELS.tolist() == [0, 0, 1, 1, 2, 2]


def test_validation_images_follow_the_images_that_were_dealt() -> None:
    """Of class 0 only the second store has an image: it gets all of that class."""
    parts = [np.array([2, 3]), np.array([1])]
    alike = assign_alike(parts, LABELS, np.array([0, 0, 1]), np.random.default_rng(0))
    assert [rows.tolist() for rows in alike] == [[2], [0, 1]]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([[0]], "returned 1 parts; expected one list of positions for each of the 2 stores"),
        ([[0, 1], [1]], "gives an image of store 1 away twice"),
        ([[0, 0], [1]], "gives an image of store 0 away twice"),
        ([[0], [6]], "gives store 1 positions from 6 to 6; expected 0 to 5"),
        ([[0], [-1]], "gives store 1 positions from -1 to -1"),
        ([[0.5], [1]], "returned float64 .* expected whole numbers"),
        ([[0, 1], []], "leaves one with 0 images"),
        (None, "fails on 6 images and 2 stores: TypeError"),
    ],
)
def test_other_answers_are_refused(answer: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split(lambda *_: answer)
