"""Results of the stores: the worst, the best, the spread, and each of them."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fedshelf.common.wording import format_count, printable
from fedshelf.server.formatting import percent, points
from fedshelf.server.report.charts.line_chart import nice_ticks
from fedshelf.server.report.run_data import RunData

MAX_STORES_LISTED = 40


@dataclass(frozen=True)
class StoreRow:
    """One store's result.

    share: its accuracy as a part of a bar (0..1)
    part:  its share of the model's steps
    raw:   the accuracy by the model's own scores, where stores use it with an adjustment; else None
    """

    name: str
    share: float
    raw: float | None
    precision: float | None
    recall: float | None
    macro_f1: float | None
    images: int | None
    part: float | None


@dataclass(frozen=True)
class Bin:
    """A bin of stores by accuracy; `height` is relative to the fullest bin (0..1)."""

    range: str
    stores: int
    height: float


@dataclass(frozen=True)
class Stores:
    """Accuracy over the stores: all stores if they are few, else the distribution and the weakest
    ones.

    told: the spread in sentences
    """

    total: int
    worst: float
    median: float
    best: float
    told: list[str]
    rows: list[StoreRow]
    bins: list[Bin]


def stores(run: RunData) -> Stores | None:
    """Return the accuracy per store, weakest first."""
    known = [
        (name, found) for name, found in run.per_store.items() if found.get("accuracy") is not None
    ]
    if not known:
        return None
    parts = run.summary.get("contribution") or {}
    ordered = sorted(known, key=lambda item: (item[1]["accuracy"], item[0]))
    is_adjusted = (run.summary.get("adjustment") or {}).get("used") == "adjusted"
    rows = [_row(name, found, parts.get(name), is_adjusted=is_adjusted) for name, found in ordered]
    shares = [row.share for row in rows]
    shown, bins = (rows[:10], _bins(rows)) if len(rows) > MAX_STORES_LISTED else (rows, [])
    told = _told(rows, run.summary.get("per_store_spread"), run.summary.get("per_store_from"))
    return Stores(len(rows), shares[0], median(shares), shares[-1], told, shown, bins)


def _row(name: str, found: Mapping[str, Any], part: float | None, *, is_adjusted: bool) -> StoreRow:
    precision, recall, f1 = (
        found.get(f"macro_{measure}") for measure in ("precision", "recall", "f1")
    )
    raw = found.get("raw_accuracy") if is_adjusted else None
    return StoreRow(
        printable(name), found["accuracy"], raw, precision, recall, f1, found.get("images"), part
    )


def _told(
    rows: Sequence[StoreRow], spread: Mapping[str, Any] | None, source: str | None
) -> list[str]:
    """Describe the spread: the worst store, its distance from the best, and whether that may be
    chance.
    """
    if len(rows) < 2:
        return []
    worst = rows[0]
    best = rows[-1]
    verb = "should be" if source == "class mix" else "is"
    photos = (
        ""
        if source == "class mix" or not worst.images
        else f" of its {format_count(worst.images, 'image')}"
    )
    told = [
        f"At {worst.name} the model {verb} right on {percent(worst.share)}{photos}, at {best.name}"
        f" on {percent(best.share)}: {points(best.share - worst.share)} between the worst and the"
        " best store."
    ]
    known = (spread or {}).get("accuracy") or {}
    if len(rows) >= 4 and known.get("lower_quarter") is not None:
        between = f"{percent(known['lower_quarter'])} and {percent(known['upper_quarter'])}"
        told.append(f"Half of the stores lie between {between}.")
    if known.get("deviation") is not None:
        told.append(_deviation(known["deviation"], known.get("by_chance")))
    return told


def _deviation(deviation: float, by_chance: float | None) -> str:
    found = f"The standard deviation over the stores is {points(deviation)}"
    if by_chance is None:
        return f"{found}."
    alone = f"with so few images a store, chance alone would make {points(by_chance)}"
    if deviation <= 1.25 * by_chance:
        return f"{found}; {alone}, so these differences say little."
    return f"{found}; {alone}."


def _bins(rows: Sequence[StoreRow], about: int = 15) -> list[Bin]:
    edges = nice_ticks(rows[0].share, rows[-1].share, about)
    counts = [0] * (len(edges) - 1)
    for row in rows:
        counts[min(len(counts) - 1, bisect_right(edges, row.share) - 1)] += 1
    return [
        Bin(f"{100 * low:.4g}–{100 * high:.4g}%", count, count / max(counts))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
