"""Exact search equals brute force, with faiss and without it."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.search.nearest import nearest


@pytest.fixture(params=["faiss", "NumPy"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs with the extra `search`, and as if it were not installed."""
    if request.param == "faiss":
        pytest.importorskip("faiss")
    else:
        monkeypatch.setitem(sys.modules, "faiss", None)
    return str(request.param)


def drawn(rows: int, dimensions: int = 32, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, dimensions))
    return unit_vectors(vectors.astype(np.float32))


def brute_force(
    embeddings: NDArray[np.float32], query: NDArray[np.float32], count: int
) -> list[tuple[float, int]]:
    products = [
        (float((row.astype(np.float64) * query).sum()), number)
        for number, row in enumerate(embeddings)
    ]
    return sorted(products, key=lambda pair: (-pair[0], pair[1]))[:count]


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (7, 3), (7, 20), (500, 10), (500, 500)])
def test_it_is_that_of_brute_force(rows: int, count: int) -> None:
    embeddings = drawn(rows)
    queries = drawn(20, seed=1)  # many, which go through other functions than a few
    together, rows = nearest(embeddings, queries, count)
    similarities, found = nearest(embeddings, queries[:5], count)
    assert np.array_equal(found, rows[:5])
    assert np.array_equal(similarities, together[:5])
    similarities, found = together, rows
    for number, query in enumerate(queries):
        expected = brute_force(embeddings, query, count)
        assert found[number].tolist() == [row for _, row in expected]
        assert similarities[number].tolist() == [np.float32(product) for product, _ in expected]


def test_equal_ones_stand_in_the_order_of_the_index() -> None:
    """More of them than the candidates that a search keeps to spare."""
    embeddings = np.repeat(drawn(4), 50, axis=0)[np.random.default_rng(2).permutation(200)]
    query = embeddings[17]
    equal = [row for row in range(200) if np.array_equal(embeddings[row], query)]
    assert len(equal) == 50
    similarities, found = nearest(embeddings, query[None], 45)
    assert found[0].tolist() == equal[:45]
    assert np.all(similarities == similarities[0, 0])


def test_nothing_is_found_in_nothing() -> None:
    similarities, rows = nearest(np.empty((0, 32), np.float32), drawn(2), 10)
    assert similarities.shape == rows.shape == (2, 0)
    assert nearest(drawn(3), np.empty((0, 32), np.float32), 2)[1].shape == (0, 2)


def test_a_vector_without_length_is_like_nothing() -> None:
    vectors = unit_vectors(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32))
    assert vectors == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))
    similarities, rows = nearest(vectors, vectors[:1], 2)
    assert rows.tolist() == [[0, 1]]
    assert similarities[0].tolist() == pytest.approx([1, 0])
