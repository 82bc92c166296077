"""Measure the exact search of the nearest embeddings, with faiss and with NumPy.

    python -m benchmarks.nearest_photos --photos 100000 --dimensions 128

It prints the processor time of a query for the ten nearest of drawn embeddings, as the median and
the least of some queries one after another, and whether both find the same. The aim is 5 ms with
faiss for 100,000 photos of 128 numbers.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.search.nearest import nearest

NEAREST = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--queries", type=int, default=50)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    embeddings = unit_vectors(
        random.standard_normal((arguments.photos, arguments.dimensions), np.float32)
    )
    queries = unit_vectors(
        random.standard_normal((arguments.queries, arguments.dimensions), np.float32)
    )
    found = {}
    for name in ("faiss", "NumPy"):
        with _engine(name):
            nearest(embeddings, queries[:1], NEAREST)  # loads the libraries
            times = [_milliseconds(embeddings, query) for query in queries]
            found[name] = nearest(embeddings, queries, NEAREST)
        print(
            f"{name}: {statistics.median(times):.2f} ms of CPU a query (least {min(times):.2f}),"
            f" {arguments.photos:,} x {arguments.dimensions}"
        )
    same = all(
        np.array_equal(one, other)
        for one, other in zip(found["faiss"], found["NumPy"], strict=True)
    )
    print(f"both find the same, to the last bit: {'yes' if same else 'no'}")


def _milliseconds(embeddings: Any, query: Any) -> float:
    start = time.process_time()
    nearest(embeddings, query[None], NEAREST)
    return 1000 * (time.process_time() - start)


@contextmanager
def _engine(name: str) -> Iterator[None]:
    """Search by faiss, or as if it were not installed."""
    if name == "faiss":
        import faiss  # noqa: F401

        yield
        return
    module = sys.modules["faiss"]
    sys.modules["faiss"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules["faiss"] = module


if __name__ == "__main__":
    main()
