"""Exact search of the nearest embeddings by cosine similarity, by faiss or by NumPy.

Both find a few candidates in float32; the similarities of those are computed once more in float64,
in a fixed order. So both return the same to the last bit, and equal similarities stand in the order
of the index. At a store's size an approximate index would save no time that anybody notices.
"""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.inference.predictors.predictor import Floats

Rows = NDArray[np.int64]

# Rounding of a float32 product of two vectors of length 1 and up to 4,096 numbers was at most 1e-6.
_ROUNDING = 1e-5
_SPARE = 16  # candidates beyond those that are wanted, for equal similarities
_FEW_QUERIES = 16  # up to here one thread: others would only wait for the memory, at full load
_QUERIES_PER_PASS = 64  # NumPy holds the similarities of so many queries to all photos at once


def nearest(embeddings: Floats, queries: Floats, count: int) -> tuple[Floats, Rows]:
    """Return the embeddings with the largest inner products with each query, largest first.

    Args:
        embeddings: float32 [N, D], each of length 1
        queries: float32 [Q, D], each at most of length 1
        count: k, at most N of them are returned

    Returns:
        The similarities float32 [Q, k] and the rows of the embeddings int64 [Q, k].
    """
    count = min(count, len(embeddings))
    similarities = np.empty((len(queries), count), np.float32)
    rows = np.empty((len(queries), count), np.int64)
    if not count or not len(queries):
        return similarities, rows
    faiss = _faiss()
    found = (
        _candidates_by_numpy(embeddings, queries, count)
        if faiss is None
        else _candidates_by_faiss(faiss, embeddings, queries, count)
    )
    for number, candidates in enumerate(found):
        exact = _exact(embeddings[candidates], queries[number])
        order = np.lexsort((candidates, -exact))[:count]
        similarities[number] = exact[order]
        rows[number] = candidates[order]
    return similarities, rows


def _candidates_by_numpy(embeddings: Floats, queries: Floats, count: int) -> Iterator[Rows]:
    """Yield the rows, for each query, among which the nearest `count` are."""
    for start in range(0, len(queries), _QUERIES_PER_PASS):
        for products in _products(embeddings, queries[start : start + _QUERIES_PER_PASS]):
            least = np.partition(products, len(products) - count)[len(products) - count]
            yield np.flatnonzero(products >= least - _ROUNDING)


def _products(embeddings: Floats, queries: Floats) -> Floats:
    """Return the inner products of queries with all embeddings: float32 [Q, N]."""
    if len(queries) > _FEW_QUERIES:
        return queries @ embeddings.T
    return np.stack([np.einsum("nd,d->n", embeddings, query) for query in queries])


def _candidates_by_faiss(
    faiss: ModuleType, embeddings: Floats, queries: Floats, count: int
) -> Iterator[Rows]:
    """Yield the rows, for each query, among which the nearest `count` are."""
    wanted = min(count + _SPARE, len(embeddings))
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if len(queries) <= _FEW_QUERIES else threads)
    try:
        found, rows = faiss.knn(
            np.ascontiguousarray(queries), embeddings, wanted, metric=faiss.METRIC_INNER_PRODUCT
        )
    finally:
        faiss.omp_set_num_threads(threads)
    for number, products in enumerate(found):
        least = products[count - 1] - _ROUNDING
        if wanted < len(embeddings) and products[-1] >= least:  # more than the spare ones are equal
            [all_products] = _products(embeddings, queries[number : number + 1])
            yield np.flatnonzero(all_products >= least)
        else:
            yield rows[number][products >= least]


def _exact(embeddings: Floats, query: Floats) -> NDArray[np.float64]:
    """Return the inner products; equal rows have equal ones, which BLAS does not promise."""
    products: NDArray[np.float64] = (embeddings.astype(np.float64) * query).sum(axis=1)
    return products


def _faiss() -> ModuleType | None:
    try:
        import faiss
    except ImportError:
        return None
    module: ModuleType = faiss
    return module
