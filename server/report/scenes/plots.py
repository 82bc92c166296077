"""Geometry of the plots of a model for scenes: curves and points in a box of 1000 by 1000 units.

The page stretches the box; labels are in percent of it (`report.charts.line_chart`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedshelf.common.wording import format_count
from fedshelf.server.formatting import decimal, percent
from fedshelf.server.report.charts.line_chart import BOX_UNITS, Scale, Tick, nice_ticks

SHARE_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
KINDS = ("first", "second", "third")  # of a plot's curves, told apart by colour and by line
LEAST_ALARMS = 0.01  # wrong boxes a photo at the left of an axis; fewer are drawn there, too
MARKED_ALARMS = (0.1, 1.0)  # those of the metric: `MAX_FALSE_ALARMS`
DOT_PHOTOS = (1, 2, 5)  # photos from which a point is larger


@dataclass(frozen=True)
class PlottedCurve:
    """A curve: its name, how it is drawn (one of KINDS), and SVG path data."""

    name: str
    kind: str
    path: str


@dataclass(frozen=True)
class PlottedSpot:
    """A place that is marked: SVG path data of a point or line, its class, and a tooltip."""

    path: str
    kind: str
    tip: str


@dataclass(frozen=True)
class Plot:
    """A plot with all that is needed to draw it.

    Attributes:
        title: above it
        alt: the plot in words, for those who do not see it
        x_title: below it
        curves: lines, with a legend if there are several
        spots: marked places
    """

    title: str
    alt: str
    x_title: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[PlottedCurve] = field(default_factory=list)
    spots: list[PlottedSpot] = field(default_factory=list)


def precision_plot(figures: Mapping[str, Any]) -> Plot | None:
    """Draw precision against recall at several overlaps, the chosen threshold marked.

    Args:
        figures: `scenes` of `evaluation.json`
    """
    if not (precisions := figures.get("precision")):
        return None
    share = Scale(0.0, 1.0)
    curves = [
        PlottedCurve(
            f"overlap {float(least):.0%} or more",
            kind,
            _path(
                [(place / (len(values) - 1), value) for place, value in enumerate(values)], share
            ),
        )
        for (least, values), kind in zip(precisions.items(), KINDS, strict=False)
    ]
    at = figures["at_threshold"]
    told = _threshold_in_words(figures)
    return Plot(
        "Precision by recall",
        f"Curves of precision by recall. {told}",
        "recall (share of products found)",
        [Tick(100 * value, percent_tick(value)) for value in SHARE_TICKS],
        _y_ticks(SHARE_TICKS, share, percent_tick),
        curves,
        [PlottedSpot(_dot(share(at["recall"]), share(at["precision"])), "threshold", told)],
    )


def alarm_plot(figures: Mapping[str, Any]) -> Plot | None:
    """Draw recall against the wrong boxes a photo (a FROC curve), on a logarithmic axis.

    Args:
        figures: `scenes` of `evaluation.json`
    """
    if not (points := figures.get("false_alarms")):
        return None
    low = LEAST_ALARMS
    high = 10.0 ** math.ceil(math.log10(max(10.0, points[-1][0])))
    across, share = Scale(math.log10(low), math.log10(high)), Scale(0.0, 1.0)

    def place(alarms: float) -> float:
        return across(math.log10(min(max(alarms, low), high)))

    path = "M" + "L".join(f"{place(x):.0f} {BOX_UNITS - share(y):.0f}" for x, y in points)
    marks = []
    for alarms in MARKED_ALARMS:
        recall = recall_at(points, alarms)
        tip = f"Recall {percent(recall)} at {alarms:g} wrong boxes a photo"
        marks.append(PlottedSpot(f"M{place(alarms):.0f} 1000V0", "guide", tip))
        marks.append(PlottedSpot(_dot(place(alarms), share(recall)), "guide-dot", tip))
    at = figures["at_threshold"]
    told = _threshold_in_words(figures)
    marks.append(
        PlottedSpot(_dot(place(at["false_alarms"]), share(at["recall"])), "threshold", told)
    )
    powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
    return Plot(
        "Recall by wrong boxes a photo",
        "Curve of recall by wrong boxes a photo. "
        + "; ".join(spot.tip for spot in marks if spot.kind == "guide-dot"),
        "wrong boxes a photo, on average",
        [Tick(place(10.0**power) / 10, f"{10.0**power:g}") for power in powers],
        _y_ticks(SHARE_TICKS, share, percent_tick),
        [PlottedCurve("recall", KINDS[0], path)],
        marks,
    )


def recall_at(points: Sequence[Sequence[float]], most: float) -> float:
    """Return the highest recall with at most so many wrong boxes a photo.

    Args:
        points: [wrong boxes a photo, recall], both rising
        most: wrong boxes a photo
    """
    return max((recall for alarms, recall in points if alarms <= most), default=0.0)


def count_plot(counts: Sequence[Sequence[int]]) -> Plot | None:
    """Draw counted against true numbers of products, a dot for each pair of numbers.

    Args:
        counts: rows of true number, counted number, and photos
    """
    if not counts:
        return None
    ticks = nice_ticks(0.0, max([1, *(max(row[:2]) for row in counts)]))
    scale = Scale(ticks[0], ticks[-1])
    dots = [
        PlottedSpot(
            _dot(scale(true), scale(counted)),
            f"dot size-{sum(photos >= least for least in DOT_PHOTOS)}",
            f"{true} products, {counted} counted: {format_count(photos, 'photo')}",
        )
        for true, counted, photos in counts
    ]
    photos = sum(row[2] for row in counts)
    exact = sum(row[2] for row in counts if row[0] == row[1])
    off = sum(abs(row[0] - row[1]) * row[2] for row in counts) / photos
    diagonal = PlottedSpot("M0 1000L1000 0", "guide", "Counted as many as there are")
    return Plot(
        "Counted and true numbers",
        f"Dots of counted by true numbers of products on {format_count(photos, 'photo')}:"
        f" {exact} are counted right, and the mean error is {decimal(off, 1)} products",
        "true number; upwards: counted number",
        [Tick(scale(value) / 10, f"{value:g}") for value in ticks],
        _y_ticks(ticks, scale, lambda value: f"{value:g}"),
        spots=[diagonal, *dots],
    )


def percent_tick(share: float) -> str:
    """Write a share at an axis: 0.25 -> "25%"."""
    return f"{100 * share:g}%"


def _threshold_in_words(figures: Mapping[str, Any]) -> str:
    at = figures["at_threshold"]
    return (
        f"From a score of {figures['threshold']:g} on: recall {percent(at['recall'])}, precision"
        f" {percent(at['precision'])}, {decimal(at['false_alarms'], 2)} wrong boxes a photo"
    )


def _path(points: Sequence[tuple[float, float]], scale: Scale) -> str:
    return "M" + "L".join(f"{scale(x):.0f} {BOX_UNITS - scale(y):.0f}" for x, y in points)


def _dot(across: float, up: float) -> str:
    """Return a line without length, of which a round end is drawn, at a place in box units."""
    return f"M{across:.0f} {BOX_UNITS - up:.0f}h0"


def _y_ticks(
    values: Sequence[float], scale: Scale, format_tick: Callable[[float], str]
) -> list[Tick]:
    return [Tick(100 - scale(value) / 10, format_tick(value)) for value in values]
