"""How each store fares: one by one while they are few, as a spread and a table in a file of its own when they are many.

History and summary stay readable and small that way: with 10,000 stores, a line for each of them in
every evaluated round would come to a megabyte a round.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.common.system.files import write_text
from fedshelf.server.results.scores import Scores

MAX_STORES_ONE_BY_ONE = 200  # stores that history and summary tell one by one
PER_STORE_FILE = "per-store.csv"
COLUMNS = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "loss", "raw_accuracy", "images")
QUANTILES = {"worst": 0.0, "lower_quarter": 0.25, "median": 0.5, "upper_quarter": 0.75, "best": 1.0}

Rows = Mapping[str, Mapping[str, Any]]
"""Store -> what `described` says of it."""


def described(counts: Counts) -> dict[str, Any]:
    """The numbers of an evaluation that go into the history."""
    return counts.scalars() | {"images": counts.num_examples}


def macros(counts: Counts) -> dict[str, float]:
    """What the end of a run tells beside `described`."""
    return {"macro_precision": counts.macro_precision, "macro_recall": counts.macro_recall}


def in_history(found: Mapping[str, Counts]) -> dict[str, Any]:
    """A round's evaluations at the stores: "stores", each one's, or of more than `MAX_STORES_ONE_BY_ONE` their
    "spread"."""
    if len(found) <= MAX_STORES_ONE_BY_ONE:
        return {"stores": {name: described(counts) for name, counts in found.items()}}
    return {"spread": spread(counts.accuracy for counts in found.values())}


def spread(accuracies: Iterable[float | None]) -> dict[str, Any]:
    """How many stores have an accuracy; its worst, quartiles and best, the gap between best and worst, and its
    standard deviation over the stores.
    """
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    values = np.quantile(known, list(QUANTILES.values())).tolist() if known else [None] * len(QUANTILES)
    told = dict(zip(QUANTILES, values, strict=True))
    further = {"gap": max(known) - min(known), "deviation": float(np.std(known))} if known else {}
    return {"stores": len(known), "accuracy": told | further}


def fairness(rows: Rows, *, is_measured: bool) -> dict[str, Any]:
    """The spread, which stores are worst and best, and what chance alone makes of as few images as stores hold out.

    by_chance: the standard deviation over these S stores to expect if the model were right equally often everywhere,
    with the probability p of all images together: sqrt((S - 1) / S * mean over stores of p (1 - p) / images), as the
    deviation is from the stores' own mean; None for what was not measured.
    """
    known = {name: row for name, row in rows.items() if row["accuracy"] is not None and row["images"]}
    ranked = sorted(known, key=lambda name: (known[name]["accuracy"], name))
    found = spread(row["accuracy"] for row in known.values())
    if ranked and is_measured:
        images = np.array([row["images"] for row in known.values()], dtype=np.float64)
        p = float(images @ np.array([row["accuracy"] for row in known.values()]) / images.sum())
        around_own_mean = (len(images) - 1) / len(images)
        found["accuracy"]["by_chance"] = math.sqrt(around_own_mean * p * (1 - p) * float((1 / images).mean()))
    ends = {"worst": ranked[0], "best": ranked[-1]} if ranked else {"worst": None, "best": None}
    return found | {f"{end}_store": name for end, name in ends.items()}


def results(
    classes: tuple[str, ...],
    test: Scores,
    validation: Scores,
    stores: Mapping[str, StoreInfo],
) -> tuple[str, Rows | None]:
    """Return the source of the stores' results, and the results.

    They are from the stores' test images, else from their validation images, as each store uses the model; else they
    are expectations from each store's mix of classes and the server's test images.
    """
    for source, scores in (("test", test), ("validation", validation)):
        if found := scores.stores:
            raw = scores.raw
            return source, {name: _measured(counts, raw[name]) for name, counts in found.items()}
    return "class mix", expected_by_mix(classes, test.test, stores) if test.test else None


def _measured(used: Counts, raw: Counts) -> dict[str, Any]:
    """The row of one store. used: by the scores that it uses; raw: by those of the model as it is"""
    return described(used) | macros(used) | {"raw_accuracy": raw.accuracy}


def expected_by_mix(classes: tuple[str, ...], test: Counts, stores: Mapping[str, StoreInfo]) -> dict[str, Any]:
    """What to expect at stores that hold nothing out, from the shares of each class taken for each on the test set.

    Accuracy: sum_c (share of class c at the store) recall_c. Precision, recall and F1 of the counts to expect,
    sum_c (images of class c) (share of c taken for each class), in the mean over the classes that the store has.
    Exact in expectation if stores differ in how much they have of each class and in nothing else. Of a class without
    test images nothing can be expected: a store's images of it are left out.
    """
    return {
        name: _expected(classes, test, info)
        for name, info in sorted(stores.items())
        if info.num_examples and not info.untold  # whoever keeps its mix to itself can be told nothing
    }


def _expected(classes: tuple[str, ...], test: Counts, info: StoreInfo) -> dict[str, Any]:
    """The row of one store."""
    held = np.array([info.counts.get(label, 0) for label in classes], dtype=np.float64)
    own = (held > 0) & test.judged
    images, rates = held[own], test.confusion[own] / test.confusion[own].sum(axis=1, keepdims=True)
    recall, taken = rates[:, own].diagonal(), (images @ rates)[own]
    right = images * recall
    precision = right / np.maximum(taken, 1e-12)
    f1 = 2 * right / (images + taken)
    accuracy = float(right.sum() / images.sum()) if own.any() else None
    return {
        "accuracy": accuracy,
        "macro_precision": float(precision.mean()) if own.any() else None,
        "macro_recall": float(recall.mean()) if own.any() else None,
        "macro_f1": float(f1.mean()) if own.any() else None,
        "loss": None,
        "raw_accuracy": accuracy,
        "images": int(images.sum()),
    }


def in_summary(source: str, rows: Rows | None, directory: Path) -> dict[str, Any]:
    """The summary's part: how they spread, and each store's result, or, of more than `MAX_STORES_ONE_BY_ONE`, all of
    them in `PER_STORE_FILE`.

    Raises OSError.
    """
    told = fairness(rows, is_measured=source != "class mix") if rows else None
    found = {"per_store_from": source, "per_store": rows, "per_store_spread": told}
    if rows is None or len(rows) <= MAX_STORES_ONE_BY_ONE:
        return found
    write_text(directory / PER_STORE_FILE, _as_csv(rows))
    return found | {"per_store": None, "per_store_file": PER_STORE_FILE}


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The table that `in_summary` wrote. Raises OSError, and ValueError for a file that is damaged."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    if header != ["store", *COLUMNS] or any(len(line) != len(header) for line in lines):
        raise ValueError(f"{path} is damaged: expected lines of {', '.join(['store', *COLUMNS])}.")
    return {
        name: dict(zip(COLUMNS, map(_number, values), strict=True)) | {"images": int(values[-1])}
        for name, *values in lines
    }


def _as_csv(rows: Rows) -> str:
    text = io.StringIO()
    table = csv.writer(text)  # with the line ends of RFC 4180, so that names with either of them are quoted
    table.writerow(["store", *COLUMNS])
    table.writerows([name, *(_text(row[column]) for column in COLUMNS)] for name, row in rows.items())
    return text.getvalue()


def _text(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def _number(text: str) -> float | None:
    return float(text) if text else None
