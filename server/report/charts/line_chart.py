"""Geometry of the page's line charts: plain numbers and SVG path data, no markup.

The drawing area is a box of 1000 x 1000 units that the page stretches to the available space;
labels are placed in percent of it, so that their type keeps its size on a phone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[int, float]
BOX = 1000
MOST_POINTS = 240
MOST_HOVERS = 80
LABEL_HEIGHT = 11.0  # percent of the chart's height that one line of type takes


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One curve: its name, path data, and the label at its right end."""

    name: str
    path: str
    dots: str
    label: Tick


@dataclass(frozen=True)
class Hover:
    """A range of rounds that shows its values when pointed at; in box units."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class LineChart:
    """Curves over rounds with all that is needed to draw them."""

    title: str
    lines: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    hovers: list[Hover]
    mark: Tick | None


@dataclass(frozen=True)
class Scale:
    """A map from a range of values to 0..BOX."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Return the place of the value in the box."""
        return BOX * (value - self.low) / (self.high - self.low)


def line_chart(
    title: str,
    series: Mapping[str, Sequence[Point]],
    show: Callable[[float], str],
    *,
    tick: Callable[[float], str] | None = None,
    from_zero: bool = False,
    mark: tuple[int, str] | None = None,
) -> LineChart | None:
    """Lay out curves (round, value); None if there is no point at all.

    show: formats a value
    tick: formats a value on the axis
    mark: a round and its label
    """
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    numbers = [number for points in series.values() for number, _ in points]
    values = [value for points in series.values() for _, value in points]
    x = (
        Scale(min(numbers) - 0.5, max(numbers) + 0.5)
        if min(numbers) == max(numbers)
        else Scale(min(numbers), max(numbers))
    )
    ticks = nice_ticks(0.0 if from_zero else min(values), max(values))
    y = Scale(ticks[0], ticks[-1])
    return LineChart(
        title=title,
        lines=_labelled([_line(name, points, x, y, show) for name, points in series.items()]),
        x_ticks=[
            Tick(x(number) / 10, f"{number:g}")
            for number in round_ticks(min(numbers), max(numbers))
        ],
        y_ticks=[Tick(100 - y(value) / 10, (tick or show)(value)) for value in ticks],
        hovers=_hovers(series, x, show),
        mark=Tick(x(mark[0]) / 10, mark[1]) if mark and x.low <= mark[0] <= x.high else None,
    )


def nice_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round numbers that enclose low..high, about `about` steps of 1, 2, 2.5 or 5 times a
    power of ten.
    """
    # a flat line, as far as an axis can tell
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = 0.05 * (abs(high) if abs(high) > 1e-9 else 1)
        low = low - margin
        high = high + margin
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def round_ticks(first: int, last: int, about: int = 5) -> list[int]:
    """Return whole rounds for the axis: the first one, and multiples of a round step up to the
    last.
    """
    if last - first <= about:
        return list(range(first, last + 1))
    step = max(1, int(nice_ticks(first, last, about)[1] - nice_ticks(first, last, about)[0]))
    return [
        first,
        *(number for number in range(step, last + 1, step) if number >= first + step / 2),
    ]


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """Return at most about `most` points with the same silhouette: the lowest and highest of each
    stretch.
    """
    if len(points) <= most:
        return list(points)
    stretches = most // 2 - 1
    kept = {0, len(points) - 1}
    for index in range(stretches):
        stretch = range(index * len(points) // stretches, (index + 1) * len(points) // stretches)
        kept |= {
            min(stretch, key=lambda place: points[place][1]),
            max(stretch, key=lambda place: points[place][1]),
        }
    return [points[place] for place in sorted(kept)]


def _line(
    name: str, points: Sequence[Point], x: Scale, y: Scale, show: Callable[[float], str]
) -> Curve:
    places = [f"{x(number):.0f} {BOX - y(value):.0f}" for number, value in thin(points)]
    dots = "".join(f"M{place}h0" for place in places) if len(points) <= 30 else ""
    return Curve(
        name, "M" + "L".join(places), dots, Tick(100 - y(points[-1][1]) / 10, show(points[-1][1]))
    )


def _labelled(lines: list[Curve]) -> list[Curve]:
    """Push the end labels apart, downwards and then back up from the bottom, so that none covers
    another.
    """
    ordered = sorted(lines, key=lambda line: line.label.at)
    places = [line.label.at for line in ordered]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + LABEL_HEIGHT)
    limit = 100.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - LABEL_HEIGHT
    return [
        Curve(line.name, line.path, line.dots, Tick(place, line.label.text))
        for line, place in zip(ordered, places, strict=True)
    ]


def _hovers(
    series: Mapping[str, Sequence[Point]], x: Scale, show: Callable[[float], str]
) -> list[Hover]:
    """Return bands around evenly chosen rounds, each with the values of all curves there."""
    values = {name: dict(points) for name, points in series.items()}
    numbers = sorted(set().union(*values.values()))
    bands = min(len(numbers), MOST_HOVERS)
    chosen = [numbers[index * len(numbers) // bands] for index in range(bands)]
    edges = [x.low, *((a + b) / 2 for a, b in pairwise(chosen)), x.high]
    return [
        Hover(
            x(left),
            x(right) - x(left),
            " · ".join(
                [
                    f"Round {number}",
                    *(
                        f"{name} {show(found[number])}"
                        for name, found in values.items()
                        if number in found
                    ),
                ]
            ),
        )
        for number, left, right in zip(chosen, edges, edges[1:], strict=False)
    ]
