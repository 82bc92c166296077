"""Results of the stores: the worst, the best, the spread, and each of them."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server.figure_names import SCENE_FIGURES, main_figure
from fedshelf.server.formatting import percent, points
from fedshelf.server.report.charts.line_chart import nice_ticks
from fedshelf.server.report.run_data import RunData

MAX_STORES_LISTED = 40


@dataclass(frozen=True)
class StoreRow:
    """One store's result.

    Attributes:
        name:      its name
        share:     its accuracy (0..1), which is also the length of a bar
        raw:       accuracy by the model's own scores, where stores use it with an adjustment; else
            None
        precision: mean over its classes
        recall:    mean over its classes
        macro_f1:  mean over its classes
        images:    images that it was judged on
        part:      its share of the model's steps
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
class AccuracyBin:
    """A bin of stores by accuracy.

    Attributes:
        range:  accuracies in words
        stores: number of stores
        height: number relative to the fullest bin (0..1)
    """

    range: str
    stores: int
    height: float


@dataclass(frozen=True)
class StoreAccuracies:
    """Accuracy over the stores: all stores if few, else their distribution and the weakest ones.

    Attributes:
        total:     number of stores
        worst:     lowest accuracy (0..1)
        median:    median accuracy
        best:      highest accuracy
        sentences: the spread in words
        rows:      the stores shown, weakest first
        bins:      the distribution; empty if all stores are shown
    """

    total: int
    worst: float
    median: float
    best: float
    sentences: list[str]
    rows: list[StoreRow]
    bins: list[AccuracyBin]


def store_accuracies(run: RunData) -> StoreAccuracies | None:
    """Return the accuracy per store, weakest first; None if none is known, and of scenes."""
    if main_figure(run.summary.get("test")) in SCENE_FIGURES:
        return None
    known = [
        (name, result)
        for name, result in run.per_store.items()
        if result.get("accuracy") is not None
    ]
    if not known:
        return None
    parts = run.summary.get("contribution") or {}
    ordered = sorted(known, key=lambda item: (item[1]["accuracy"], item[0]))
    is_adjusted = (run.summary.get("adjustment") or {}).get("used") == "adjusted"
    rows = [
        _row(name, result, parts.get(name), is_adjusted=is_adjusted) for name, result in ordered
    ]
    shares = [row.share for row in rows]
    shown, bins = (rows[:10], _bins(rows)) if len(rows) > MAX_STORES_LISTED else (rows, [])
    sentences = _describe_spread(
        rows, run.summary.get("per_store_spread"), run.summary.get("per_store_from")
    )
    return StoreAccuracies(len(rows), shares[0], median(shares), shares[-1], sentences, shown, bins)


def _row(
    name: str, result: Mapping[str, Any], part: float | None, *, is_adjusted: bool
) -> StoreRow:
    precision, recall, f1 = (
        result.get(f"macro_{measure}") for measure in ("precision", "recall", "f1")
    )
    raw = result.get("raw_accuracy") if is_adjusted else None
    return StoreRow(
        printable(name), result["accuracy"], raw, precision, recall, f1, result.get("images"), part
    )


def _describe_spread(
    rows: Sequence[StoreRow], spread: Mapping[str, Any] | None, source: str | None
) -> list[str]:
    """Describe the spread: worst and best store, and whether their distance may be chance."""
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
    sentences = [
        f"At {worst.name} the model {verb} right on {percent(worst.share)}{photos}, at {best.name}"
        f" on {percent(best.share)}: {points(best.share - worst.share)} between the worst and the"
        " best store."
    ]
    known = (spread or {}).get("accuracy") or {}
    if len(rows) >= 4 and known.get("lower_quarter") is not None:
        between = f"{percent(known['lower_quarter'])} and {percent(known['upper_quarter'])}"
        sentences.append(f"Half of the stores lie between {between}.")
    if known.get("deviation") is not None:
        sentences.append(_describe_deviation(known["deviation"], known.get("by_chance")))
    return sentences


def _describe_deviation(deviation: float, by_chance: float | None) -> str:
    sentence = f"The standard deviation over the stores is {points(deviation)}"
    if by_chance is None:
        return f"{sentence}."
    chance_clause = f"with so few images a store, chance alone would make {points(by_chance)}"
    if deviation <= 1.25 * by_chance:
        return f"{sentence}; {chance_clause}, so these differences say little."
    return f"{sentence}; {chance_clause}."


def _bins(rows: Sequence[StoreRow], bin_count: int = 15) -> list[AccuracyBin]:
    edges = nice_ticks(rows[0].share, rows[-1].share, bin_count)
    counts = [0] * (len(edges) - 1)
    for row in rows:
        counts[min(len(counts) - 1, bisect_right(edges, row.share) - 1)] += 1
    return [
        AccuracyBin(f"{100 * low:.4g}–{100 * high:.4g}%", count, count / max(counts))
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
