"""Updates that point elsewhere: by hand, and against plain regressions of one update by the
others.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES, VectorSequence
from fedshelf.server.updates import directions
from fedshelf.server.updates.directions import MIX_RIDGE, gram, predicted, strays
from tests.helpers.by_hand import vector

ALIKE = np.full((6, 2), 0.5)


def products(*vectors: list[float]) -> np.ndarray:
    rows = np.array(vectors)
    return rows @ rows.T


def test_inner_products_by_hand() -> None:
    found = gram(
        vector(1.0, 1.0), VectorSequence([vector(4.0, 5.0), vector(-2.0, -3.0), vector(1.0, 1.0)])
    )
    assert found.tolist() == [[25, -25, 0], [-25, 25, 0], [0, 0, 0]]


def test_of_long_vectors_every_kth_block_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = VectorSequence([torch.ones(3 * BLOCK_COORDINATES + 7)] * 2)
    assert gram(torch.zeros(3 * BLOCK_COORDINATES + 7), ones)[0, 1] == 3 * BLOCK_COORDINATES + 7
    # half of the coordinates of the two
    monkeypatch.setattr(directions, "MAX_COORDINATES", 3 * BLOCK_COORDINATES + 7)
    assert gram(torch.zeros(3 * BLOCK_COORDINATES + 7), ones)[0, 1] == 2 * BLOCK_COORDINATES


@given(draw.integers(3, 8), draw.integers(0, 99))
def test_the_prediction_is_that_of_a_regression_without_the_update_itself(
    count: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 12))
    mixes = random.dirichlet(np.ones(4), count)
    cosines, lengths = predicted(vectors @ vectors.T, mixes)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kernel = np.sqrt(mixes) @ np.sqrt(mixes).T
    for i in range(count):
        others = np.arange(count) != i
        weights = np.linalg.solve(
            kernel[np.ix_(others, others)] + MIX_RIDGE * np.eye(count - 1), kernel[others, i]
        )
        prediction = weights @ units[others]
        assert lengths[i] == pytest.approx(np.linalg.norm(prediction))
        assert cosines[i] == pytest.approx(units[i] @ prediction / np.linalg.norm(prediction))


def test_an_opposite_update_and_a_strange_one_stray_from_stores_with_their_classes() -> None:
    usual = [[1.0, 0.1, 0.0], [1.0, -0.1, 0.0], [1.0, 0.2, 0.0], [1.0, -0.2, 0.0]]
    # how long they are says nothing
    assert strays(products(*usual, [5.0, 0.0, 0.0], [0.2, 0.0, 0.0]), ALIKE, 4) == {}
    found = strays(products(*usual, [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]), ALIKE, 4)
    assert sorted(found) == [4, 5]
    assert found[4].cosine == pytest.approx(-1, abs=0.05)  # it strays most, and is looked at first
    assert found[5].cosine == pytest.approx(0, abs=0.01)


def test_a_huge_update_makes_nobody_else_strange() -> None:
    usual = [vector(1.0, 0.1), vector(1.0, -0.1), vector(1.0, 0.2), vector(1.0, -0.2)]
    start = vector(0.0, 0.0)
    assert (
        strays(gram(start, VectorSequence([*usual, vector(1e25, 0.0), vector(1.0, 0.0)])), ALIKE, 4)
        == {}
    )
    assert list(
        strays(
            gram(start, VectorSequence([*usual, vector(-1e25, 0.0), vector(1.0, 0.0)])), ALIKE, 4
        )
    ) == [4]


def test_stores_with_other_classes_go_other_ways_and_none_strays() -> None:
    # two kinds of stores, three of each
    left = [1.0, 0.0]
    right = [0.0, 1.0]
    mixes = np.array([left] * 3 + [right] * 3)
    rows = [[1.0, 0.1], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.1], [-1.0, 0.0], [-1.0, 0.0]]
    assert strays(products(*rows), mixes, 4) == {}
    assert sorted(strays(products(*rows[:5], [1.0, 0.0]), mixes, 4)) == [5]


def test_where_nobody_is_like_a_store_its_direction_says_nothing() -> None:
    mixes = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]])
    assert strays(products(*[[1.0, 0.1]] * 4, [-1.0, 0.0]), mixes, 4) == {}


def test_no_change_has_no_direction_and_three_updates_are_too_few() -> None:
    assert strays(products(*[[1.0, 0.0]] * 3, [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]), ALIKE, 4) == {}
    assert strays(products([1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]), ALIKE[:3], 4) == {}
