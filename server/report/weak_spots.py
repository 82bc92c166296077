"""Geometry of two pictures of stores: the classes that each mistakes, and small confusion matrices
side by side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fedshelf.common.wording import printable
from fedshelf.server.formatting import percent
from fedshelf.server.report.charts.confusion_chart import SHADES, HeatMap, heat_map, shortened

CELL = 16
MAX_WEAK_STORES = 24  # stores, the weakest first
MOST_SMALL = 12  # confusion matrices side by side
TIPS = 40  # cells of a small matrix that have a tooltip


@dataclass(frozen=True)
class Spot:
    """A class at a store: column, row, strength of its mistakes (0: none) and tooltip."""

    column: int
    row: int
    strength: float
    tip: str


@dataclass(frozen=True)
class WeakSpots:
    """Stores (rows) by classes (columns); a pair without test images has no spot."""

    rows: list[str]
    columns: list[str]
    cell: int
    left: int
    top: int
    spots: list[Spot]
    total: int


@dataclass(frozen=True)
class Small:
    """The confusion matrix of one store."""

    name: str
    accuracy: float
    images: int
    map: HeatMap


Stores = Mapping[str, Mapping[str, Any]]
"""Name -> what `evaluation.json` says of the store."""


def weak_spots(classes: Sequence[str], stores: Stores) -> WeakSpots | None:
    """Lay out the share of each store's images of each class that is mistaken; None without
    per-class results.
    """
    known = [
        (name, found)
        for name, found in _weakest_first(stores)
        if any(_counts(found, each) for each in classes)
    ]
    if len(known) < 2:
        return None
    rows, columns = (
        [shortened(printable(name)) for name in names] for names in ((n for n, _ in known), classes)
    )
    spots = [
        _spot(column, row, printable(name), printable(label), *counts)
        for row, (name, found) in enumerate(known[:MAX_WEAK_STORES])
        for column, label in enumerate(classes)
        if (counts := _counts(found, label))
    ]
    left, top = (12 + round(6.6 * max(map(len, names))) for names in (rows, columns))
    return WeakSpots(rows[:MAX_WEAK_STORES], columns, CELL, left, top, spots, len(known))


def small_maps(classes: Sequence[str], stores: Stores) -> list[Small]:
    """Return the stores' confusion matrices, the weakest store first; of stores whose results have
    counts per class.
    """
    known = (
        (name, found)
        for name, found in _weakest_first(stores)
        if found.get("confusion") and any(map(any, found["confusion"]))
    )
    return [
        Small(
            printable(name),
            found["accuracy"],
            found["images"],
            heat_map(classes, found["confusion"], TIPS),
        )
        for name, found in islice(known, MOST_SMALL)
    ]


def _weakest_first(stores: Stores) -> list[tuple[str, Mapping[str, Any]]]:
    known = [(name, found) for name, found in stores.items() if found["accuracy"] is not None]
    return sorted(known, key=lambda item: (item[1]["accuracy"], item[0]))


def _counts(found: Mapping[str, Any], label: str) -> tuple[int, float] | None:
    """Return the images of a class and its recall, if there are any."""
    of_class = found["per_class"].get(label)
    return (of_class["images"], of_class["recall"]) if of_class and of_class["images"] else None


def _spot(column: int, row: int, store: str, label: str, images: int, recall: float) -> Spot:
    strength = math.ceil(SHADES * math.sqrt(1 - recall)) / SHADES
    tip = f"{label} at {store}: {percent(recall)} of {images:,} recognised"
    return Spot(column, row, strength, tip)
