"""How each store fares: one by one while they are few, as a spread and a table in a file of its own when they are many.

History and summary stay readable and small that way: with 10,000 stores, a line for each of them in
every evaluated round would come to a megabyte a round.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_text
from common.metrics import Counts
from common.orders import StoreInfo

MOST = 200  # stores that history and summary tell one by one
FILE = "per-store.csv"
COLUMNS = ("accuracy", "macro_f1", "loss", "images")
QUANTILES = {"worst": 0.0, "lower_quarter": 0.25, "median": 0.5, "upper_quarter": 0.75, "best": 1.0}

Rows = Mapping[str, Mapping[str, Any]]
"""Store -> what `described` says of it."""


def described(counts: Counts) -> dict[str, Any]:
    """The numbers of an evaluation that go into the history."""
    return counts.scalars() | {"images": counts.num_examples}


def in_history(found: Mapping[str, Counts]) -> dict[str, Any]:
    """A round's evaluations at the stores: "stores", each one's, or of more than `MOST` their "spread"."""
    if len(found) <= MOST:
        return {"stores": {name: described(counts) for name, counts in found.items()}}
    return {"spread": spread(counts.accuracy for counts in found.values())}


def spread(accuracies: Iterable[float | None]) -> dict[str, Any]:
    """How many stores have an accuracy, and the worst, quartiles and best of it."""
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    values = np.quantile(known, list(QUANTILES.values())).tolist() if known else [None] * len(QUANTILES)
    return {"stores": len(known), "accuracy": dict(zip(QUANTILES, values, strict=True))}


def results(
    classes: tuple[str, ...],
    test: Counts | None,
    own: Mapping[str, Counts],
    record: Mapping[str, Any] | None,
    stores: Mapping[str, StoreInfo],
    validate: Callable[[], Mapping[str, Counts]],
) -> tuple[str, Rows | None]:
    """Where each store's result is from, and the results: its own test images, else its validation images in the
    round delivered (its `record`, or `validate` where that tells the spread only), else an expectation from its mix
    of classes on the server's `test`.
    """
    if own:
        return "test", {name: described(counts) for name, counts in own.items()}
    if record and (validation := record["validation"]):
        told: Rows | None = validation.get("stores")
        return "validation", told or {name: described(counts) for name, counts in validate().items()}
    return "class mix", expected_by_mix(classes, test, stores) if test else None


def expected_by_mix(classes: tuple[str, ...], test: Counts, stores: Mapping[str, StoreInfo]) -> dict[str, Any]:
    """What to expect at stores that hold nothing out: sum_c (share of class c at the store) recall_c on the test set.

    Exact in expectation if stores differ in how much they have of each class and in nothing else.
    """
    recall = dict(zip(classes, test.recall.tolist(), strict=True))
    return {
        name: {
            "accuracy": sum(images * recall.get(label, 0.0) for label, images in info.counts.items())
            / info.num_examples,
            "macro_f1": None,
            "loss": None,
            "images": info.num_examples,
        }
        for name, info in sorted(stores.items())
        if info.num_examples and not info.untold  # whoever keeps its mix to itself can be told nothing
    }


def in_summary(source: str, rows: Rows | None, directory: Path) -> dict[str, Any]:
    """The summary's part: each store's result, or of more than `MOST` the spread, and all of them in `FILE`.

    Raises OSError.
    """
    if rows is None or len(rows) <= MOST:
        return {"per_store_from": source, "per_store": rows}
    write_text(directory / FILE, _as_csv(rows))
    told = spread(row["accuracy"] for row in rows.values())
    return {"per_store_from": source, "per_store": None, "per_store_spread": told, "per_store_file": FILE}


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
