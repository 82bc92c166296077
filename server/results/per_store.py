"""Results per store: one by one for few stores, as a spread and a table in its own file for many.

This keeps history and summary readable and small: with 10,000 stores, a line for each of them in
every evaluated round would come to a megabyte a round.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.common.system.files import write_text
from fedshelf.server.figure_names import name_share
from fedshelf.server.results.scores import Scores

MAX_STORES_ONE_BY_ONE = 200  # up to this many stores, history and summary list each one
PER_STORE_FILE = "per-store.csv"
METRIC_COLUMNS = (
    "accuracy",
    "macro_precision",
    "macro_recall",
    "macro_f1",
    "loss",
    "raw_accuracy",
    "images",
)
QUANTILES = {"worst": 0.0, "lower_quarter": 0.25, "median": 0.5, "upper_quarter": 0.75, "best": 1.0}

Rows = Mapping[str, Mapping[str, Any]]
"""Store -> its metrics as `summarize_counts` returns them, with macro averages."""


def summarize_counts(counts: Counts, objective: str = "classes") -> dict[str, Any]:
    """Return the numbers of an evaluation that go into the history.

    Args:
        counts: of the evaluation
        objective: the run's train.objective
    """
    return name_share(formulas.scalars(counts) | {"images": counts.num_examples}, objective)


def macros(counts: Counts) -> dict[str, float]:
    """Return the macro averages that the end of a run reports beside `summarize_counts`."""
    return {"macro_precision": counts.macro_precision, "macro_recall": counts.macro_recall}


def to_history(counts_by_store: Mapping[str, Counts], objective: str = "classes") -> dict[str, Any]:
    """Return a round's evaluations at the stores.

    "stores" has those of each store; for more than `MAX_STORES_ONE_BY_ONE` there is "spread"
    instead.
    """
    if len(counts_by_store) <= MAX_STORES_ONE_BY_ONE:
        return {
            "stores": {
                name: summarize_counts(counts, objective)
                for name, counts in counts_by_store.items()
            }
        }
    return {"spread": spread(counts.accuracy for counts in counts_by_store.values())}


def spread(accuracies: Iterable[float | None]) -> dict[str, Any]:
    """Return the spread of accuracies over the stores.

    It has the number of stores with an accuracy, the worst, quartiles and best, the gap between
    best and worst, and the standard deviation over the stores.
    """
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    values = (
        np.quantile(known, list(QUANTILES.values())).tolist() if known else [None] * len(QUANTILES)
    )
    told = dict(zip(QUANTILES, values, strict=True))
    further = {"gap": max(known) - min(known), "deviation": float(np.std(known))} if known else {}
    return {"stores": len(known), "accuracy": told | further}


def fairness(rows: Rows, *, is_measured: bool) -> dict[str, Any]:
    """Return the spread, the worst and the best store, and the deviation to expect by chance alone.

    by_chance is the standard deviation over these S stores to expect if the model were right
    equally often everywhere, with the probability p of all images together: sqrt((S - 1) / S * mean
    over stores of p (1 - p) / images), as the deviation is taken from the stores' own mean. It is
    left out if the accuracies were not measured.
    """
    known = {
        name: row for name, row in rows.items() if row["accuracy"] is not None and row["images"]
    }
    ranked = sorted(known, key=lambda name: (known[name]["accuracy"], name))
    found = spread(row["accuracy"] for row in known.values())
    if ranked and is_measured:
        images = np.array([row["images"] for row in known.values()], dtype=np.float64)
        p = float(images @ np.array([row["accuracy"] for row in known.values()]) / images.sum())
        around_own_mean = (len(images) - 1) / len(images)
        found["accuracy"]["by_chance"] = math.sqrt(
            around_own_mean * p * (1 - p) * float((1 / images).mean())
        )
    ends = {"worst": ranked[0], "best": ranked[-1]} if ranked else {"worst": None, "best": None}
    return found | {f"{end}_store": name for end, name in ends.items()}


def results(
    classes: tuple[str, ...],
    test: Scores,
    validation: Scores,
    stores: Mapping[str, StoreInfo],
) -> tuple[str, Rows | None]:
    """Return the source of the stores' results, and the results.

    They come from the stores' test images, else from their validation images, as each store uses
    the model. Else they are expectations from each store's mix of classes and the server's test
    images; None without those.
    """
    for source, scores in (("test", test), ("validation", validation)):
        if counts_by_store := scores.stores:
            raw = scores.raw
            return source, {
                name: _measured(counts, raw[name]) for name, counts in counts_by_store.items()
            }
    return "class mix", expected_by_mix(classes, test.test, stores) if test.test else None


def _measured(used: Counts, raw: Counts) -> dict[str, Any]:
    """Return the row of one store.

    Args:
        used: by the scores that the store uses
        raw: by the raw scores
    """
    return summarize_counts(used) | macros(used) | {"raw_accuracy": raw.accuracy}


def expected_by_mix(
    classes: tuple[str, ...], test: Counts, stores: Mapping[str, StoreInfo]
) -> dict[str, Any]:
    """Return the results to expect at stores that hold out no images.

    They follow from the rates at which the model takes class c for class k on the server's test
    set.

    accuracy: sum_c (share of class c at the store) recall_c
    precision, recall, F1: from the expected counts sum_c (images of class c) (rate of c taken for
    k),
        averaged over the classes that the store has

    The expectation is exact if stores differ only in how much they have of each class. For a class
    without test images there is none: a store's images of it are left out.
    """
    return {
        name: _expected(classes, test, info)
        for name, info in sorted(stores.items())
        # a store that keeps its mix private has no expectation
        if info.num_examples and not info.undisclosed_images
    }


def _expected(classes: tuple[str, ...], test: Counts, info: StoreInfo) -> dict[str, Any]:
    """Return the row of one store."""
    held = np.array([info.counts.get(label, 0) for label in classes], dtype=np.float64)
    own = (held > 0) & test.classes_with_images
    images = held[own]
    rates = test.confusion[own] / test.confusion[own].sum(axis=1, keepdims=True)
    recall = rates[:, own].diagonal()
    taken = (images @ rates)[own]
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


def to_summary(source: str, rows: Rows | None, directory: Path) -> dict[str, Any]:
    """Return the summary's part: the spread over stores, and each store's result.

    More than `MAX_STORES_ONE_BY_ONE` results are written to `PER_STORE_FILE` instead.

    Raises OSError.
    """
    fairness_figures = fairness(rows, is_measured=source != "class mix") if rows else None
    summary = {"per_store_from": source, "per_store": rows, "per_store_spread": fairness_figures}
    if rows is None or len(rows) <= MAX_STORES_ONE_BY_ONE:
        return summary
    write_text(directory / PER_STORE_FILE, _as_csv(rows))
    return summary | {"per_store": None, "per_store_file": PER_STORE_FILE}


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Read the table that `to_summary` wrote. Raises OSError; ValueError for a damaged file."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    columns = header[1:]
    usual = ["store", *METRIC_COLUMNS]
    if header[: len(usual)] != usual or any(len(line) != len(header) for line in lines):
        raise ValueError(f"{path} is damaged: expected lines of {', '.join(usual)}.")
    return {
        name: (row := dict(zip(columns, map(_number, values), strict=True)))
        | {"images": int(row["images"] or 0)}
        for name, *values in lines
    }


def _as_csv(rows: Rows) -> str:
    """Return the table; figures of further metrics stand after the usual columns."""
    columns = dict.fromkeys([*METRIC_COLUMNS, *(name for row in rows.values() for name in row)])
    text = io.StringIO()
    # with the line ends of RFC 4180, so that names with either of them are quoted
    table = csv.writer(text)
    table.writerow(["store", *columns])
    table.writerows(
        [name, *(_text(row.get(column)) for column in columns)] for name, row in rows.items()
    )
    return text.getvalue()


def _text(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def _number(text: str) -> float | None:
    return float(text) if text else None
