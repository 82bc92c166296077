"""Geometry of two pictures of stores: the classes that each mistakes, and confusion matrices."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from fedshelf.common.text import printable
from fedshelf.server.formatting import percent
from fedshelf.server.report.charts.confusion_chart import (
    SHADE_COUNT,
    HeatMap,
    heat_map,
    shorten_label,
)

CELL_UNITS = 16
MAX_WEAK_STORES = 24  # stores, the weakest first
MAX_SMALL_MAPS = 12  # confusion matrices side by side
SMALL_MAP_TOOLTIPS = 40  # cells of a small matrix that have a tooltip


@dataclass(frozen=True)
class Spot:
    """A class at a store.

    Attributes:
        column:   index of the class
        row:      index of the store
        strength: strength of its mistakes (0..1; 0: none)
        tip:      tooltip
    """

    column: int
    row: int
    strength: float
    tip: str


@dataclass(frozen=True)
class WeakSpots:
    """Stores (rows) by classes (columns); a pair without test images has no spot.

    Attributes:
        rows:    labels of the stores shown
        columns: labels of the classes
        cell:    side of a cell, in box units
        left:    width of the stores' labels, in box units
        top:     height of the classes' labels, in box units
        spots:   the pairs
        total:   number of stores, shown or not
    """

    rows: list[str]
    columns: list[str]
    cell: int
    left: int
    top: int
    spots: list[Spot]
    total: int


@dataclass(frozen=True)
class SmallMap:
    """The confusion matrix of one store."""

    name: str
    accuracy: float
    images: int
    map: HeatMap


StoreResults = Mapping[str, Mapping[str, Any]]
"""Name -> what `evaluation.json` says of the store."""


def weak_spots(classes: Sequence[str], stores: StoreResults) -> WeakSpots | None:
    """Lay out the share of each store's images of each class that is mistaken.

    Args:
        classes: names of the classes
        stores:  results of each store, by name

    Returns:
        The picture; None unless two stores have results per class.
    """
    known = [
        (name, result)
        for name, result in _weakest_first(stores)
        if any(_counts(result, label) for label in classes)
    ]
    if len(known) < 2:
        return None
    rows, columns = (
        [shorten_label(printable(name)) for name in names]
        for names in ((n for n, _ in known), classes)
    )
    spots = [
        _spot(column, row, printable(name), printable(label), *counts)
        for row, (name, result) in enumerate(known[:MAX_WEAK_STORES])
        for column, label in enumerate(classes)
        if (counts := _counts(result, label))
    ]
    left, top = (12 + round(6.6 * max(map(len, names))) for names in (rows, columns))
    return WeakSpots(rows[:MAX_WEAK_STORES], columns, CELL_UNITS, left, top, spots, len(known))


def small_maps(classes: Sequence[str], stores: StoreResults) -> list[SmallMap]:
    """Return the confusion matrices of stores that have one, the weakest store first.

    Args:
        classes: names of the C classes
        stores:  results of each store, by name
    """
    known = (
        (name, result)
        for name, result in _weakest_first(stores)
        if result.get("confusion") and any(map(any, result["confusion"]))
    )
    return [
        SmallMap(
            printable(name),
            result["accuracy"],
            result["images"],
            heat_map(classes, result["confusion"], SMALL_MAP_TOOLTIPS),
        )
        for name, result in islice(known, MAX_SMALL_MAPS)
    ]


def _weakest_first(stores: StoreResults) -> list[tuple[str, Mapping[str, Any]]]:
    known = [(name, result) for name, result in stores.items() if result["accuracy"] is not None]
    return sorted(known, key=lambda item: (item[1]["accuracy"], item[0]))


def _counts(result: Mapping[str, Any], label: str) -> tuple[int, float] | None:
    """Return the images of a class and its recall, if there are any."""
    measures = result["per_class"].get(label)
    return (measures["images"], measures["recall"]) if measures and measures["images"] else None


def _spot(column: int, row: int, store: str, label: str, images: int, recall: float) -> Spot:
    strength = math.ceil(SHADE_COUNT * math.sqrt(1 - recall)) / SHADE_COUNT
    tip = f"{label} at {store}: {percent(recall)} of {images:,} recognised"
    return Spot(column, row, strength, tip)
