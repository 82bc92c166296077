"""Combine the updates of some stores once, for `benchmarks.aggregation`.

    python -m benchmarks.combine SYSTEM RULE STORES FLOATS

It prints the median of seconds over a few repetitions. Ten distinct updates are used in turn. So a
hundred stores take no more memory than ten, but still more than any processor's cache.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DISTINCT_UPDATES = 10
REPETITIONS = 3
FIRST_STORE_IMAGES = 100  # each further store has one image more

Arrays = Sequence[np.ndarray[Any, Any]]
Combine = Callable[[], object]


def ours(rule: str, arrays: Arrays) -> Combine:
    """Prepare our strategy's server half, with updates as the engines return them."""
    import torch

    from fedshelf.common import strategies
    from fedshelf.common.config import StrategyConfig
    from fedshelf.common.protocol.messages import Update

    strategy = strategies.build(StrategyConfig(name={"mean": "fedavg"}.get(rule, rule)))
    vectors = [torch.from_numpy(array) for array in arrays]
    updates = [
        Update(f"store-{i}", 1, vector, FIRST_STORE_IMAGES + i, 0.0, 0.0)
        for i, vector in enumerate(vectors)
    ]
    return lambda: strategy.update_global_model(vectors[0], updates, {}, len(vectors[0]))


def flower(rule: str, arrays: Arrays) -> Combine:
    """Prepare Flower's aggregation functions on arrays in memory, without its messages."""
    from flwr.server.strategy import aggregate

    results = [([array], FIRST_STORE_IMAGES + i) for i, array in enumerate(arrays)]
    rules: dict[str, Combine] = {
        "mean": lambda: aggregate.aggregate(results),
        "median": lambda: aggregate.aggregate_median(results),
        "krum": lambda: aggregate.aggregate_krum(results, 0, 0),
    }
    return rules[rule]


def records(rule: str, arrays: Arrays) -> Combine:
    """Prepare Flower's FedAvg on the content of its messages, as a ServerApp uses it."""
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
    from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords

    assert rule == "mean", rule
    sent = [ArrayRecord({"0": Array(array)}) for array in arrays[:DISTINCT_UPDATES]]
    contents = [
        RecordDict(
            {
                "arrays": sent[i % DISTINCT_UPDATES],
                "metrics": MetricRecord({"num-examples": FIRST_STORE_IMAGES + i}),
            }
        )
        for i in range(len(arrays))
    ]
    return lambda: aggregate_arrayrecords(contents, "num-examples")


def numpy_loop(rule: str, arrays: Arrays) -> Combine:
    """Prepare the rule as one writes it in NumPy."""

    def mean() -> object:
        total = sum(FIRST_STORE_IMAGES + i for i in range(len(arrays)))
        combined = np.zeros_like(arrays[0])
        for i, array in enumerate(arrays):
            combined += array * np.float32((FIRST_STORE_IMAGES + i) / total)
        return combined

    def krum() -> object:
        scores = []
        for i, array in enumerate(arrays):
            distances = [np.square(array - other).sum() for j, other in enumerate(arrays) if j != i]
            scores.append(sum(sorted(distances)[: max(1, len(arrays) - 2)]))
        return arrays[int(np.argmin(scores))]

    return {"mean": mean, "median": lambda: np.median(np.stack(arrays), axis=0), "krum": krum}[rule]


SYSTEMS = {"ours": ours, "numpy loop": numpy_loop, "Flower": flower, "Flower (messages)": records}


def main() -> None:
    """Print the seconds of one combination."""
    system = sys.argv[1]
    rule = sys.argv[2]
    stores = int(sys.argv[3])
    floats = int(sys.argv[4])
    random = np.random.default_rng(0)
    distinct = [
        random.standard_normal(floats, dtype=np.float32)
        for _ in range(min(DISTINCT_UPDATES, stores))
    ]
    combine = SYSTEMS[system](rule, [distinct[i % DISTINCT_UPDATES] for i in range(stores)])
    combine()  # the first time pays for threads and memory
    seconds = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        combine()
        seconds.append(time.perf_counter() - began)
    print(statistics.median(seconds))


if __name__ == "__main__":
    main()
