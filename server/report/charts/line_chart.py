"""Geometry of the page's line charts: plain numbers and SVG path data, no markup.

The drawing area is a box of 1000 x 1000 units that the page stretches to the available space;
labels are placed in percent of it, so that their type keeps its size on a phone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[int, float]
BOX_UNITS = 1000
MAX_POINTS = 240
MAX_HOVERS = 80
LABEL_HEIGHT_PERCENT = 11.0  # percent of the chart's height that one line of type takes


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis, in percent from the left or from the top."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        name:  its name
        path:  SVG path data of the line
        dots:  SVG path data of its points, if they are few; else empty
        label: label at its right end
    """

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
    """A map from a range of values to box units, 0..BOX_UNITS."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Return the position of a value, in box units."""
        return BOX_UNITS * (value - self.low) / (self.high - self.low)


def line_chart(
    title: str,
    series: Mapping[str, Sequence[Point]],
    format_value: Callable[[float], str],
    *,
    format_tick: Callable[[float], str] | None = None,
    from_zero: bool = False,
    mark: tuple[int, str] | None = None,
) -> LineChart | None:
    """Lay out curves over rounds.

    Args:
        title:        title of the chart
        series:       (round, value) points of each curve, by its name
        format_value: formats a value
        format_tick:  formats a value on the axis; None: as `format_value`
        from_zero:    True to begin the axis of values at 0
        mark:         a round and its label

    Returns:
        The chart; None if there is no point at all.
    """
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    round_numbers = [round_number for points in series.values() for round_number, _ in points]
    values = [value for points in series.values() for _, value in points]
    x = (
        Scale(min(round_numbers) - 0.5, max(round_numbers) + 0.5)
        if min(round_numbers) == max(round_numbers)
        else Scale(min(round_numbers), max(round_numbers))
    )
    ticks = nice_ticks(0.0 if from_zero else min(values), max(values))
    y = Scale(ticks[0], ticks[-1])
    return LineChart(
        title=title,
        lines=_separate_labels(
            [_curve(name, points, x, y, format_value) for name, points in series.items()]
        ),
        x_ticks=[
            Tick(x(round_number) / 10, f"{round_number:g}")
            for round_number in round_ticks(min(round_numbers), max(round_numbers))
        ],
        y_ticks=[
            Tick(100 - y(value) / 10, (format_tick or format_value)(value)) for value in ticks
        ],
        hovers=_hovers(series, x, format_value),
        mark=Tick(x(mark[0]) / 10, mark[1]) if mark and x.low <= mark[0] <= x.high else None,
    )


def nice_ticks(low: float, high: float, step_count: int = 4) -> list[float]:
    """Return round numbers that enclose a range, in steps of 1, 2, 2.5 or 5 times a power of ten.

    Args:
        low:        lowest value
        high:       highest value
        step_count: number of steps, about
    """
    # a flat line, as far as an axis can tell
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        margin = 0.05 * (abs(high) if abs(high) > 1e-9 else 1)
        low = low - margin
        high = high + margin
    rough_step = (high - low) / step_count
    power = 10.0 ** math.floor(math.log10(rough_step))
    step = power * next(
        factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough_step * 0.999
    )
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def round_ticks(first: int, last: int, step_count: int = 5) -> list[int]:
    """Return whole rounds for the axis: the first one, and multiples of a round step.

    Args:
        first:      first round
        last:       last round
        step_count: number of steps, about
    """
    if last - first <= step_count:
        return list(range(first, last + 1))
    step = max(
        1, int(nice_ticks(first, last, step_count)[1] - nice_ticks(first, last, step_count)[0])
    )
    return [
        first,
        *(number for number in range(step, last + 1, step) if number >= first + step / 2),
    ]


def thin_points(points: Sequence[Point], max_points: int = MAX_POINTS) -> list[Point]:
    """Return fewer points with the same silhouette: the lowest and highest of each stretch.

    Args:
        points:     (round, value)
        max_points: number of points returned, about
    """
    if len(points) <= max_points:
        return list(points)
    stretches = max_points // 2 - 1
    kept_indices = {0, len(points) - 1}
    for index in range(stretches):
        stretch = range(index * len(points) // stretches, (index + 1) * len(points) // stretches)
        kept_indices |= {
            min(stretch, key=lambda index: points[index][1]),
            max(stretch, key=lambda index: points[index][1]),
        }
    return [points[index] for index in sorted(kept_indices)]


def _curve(
    name: str, points: Sequence[Point], x: Scale, y: Scale, format_value: Callable[[float], str]
) -> Curve:
    coordinates = [
        f"{x(round_number):.0f} {BOX_UNITS - y(value):.0f}"
        for round_number, value in thin_points(points)
    ]
    dots = "".join(f"M{coordinate}h0" for coordinate in coordinates) if len(points) <= 30 else ""
    return Curve(
        name,
        "M" + "L".join(coordinates),
        dots,
        Tick(100 - y(points[-1][1]) / 10, format_value(points[-1][1])),
    )


def _separate_labels(lines: list[Curve]) -> list[Curve]:
    """Push the end labels apart, downwards and then back up, so that none covers another."""
    ordered = sorted(lines, key=lambda line: line.label.at)
    positions = [line.label.at for line in ordered]
    for index in range(1, len(positions)):
        positions[index] = max(positions[index], positions[index - 1] + LABEL_HEIGHT_PERCENT)
    limit = 100.0
    for index in reversed(range(len(positions))):
        positions[index] = min(positions[index], limit)
        limit = positions[index] - LABEL_HEIGHT_PERCENT
    return [
        Curve(line.name, line.path, line.dots, Tick(position, line.label.text))
        for line, position in zip(ordered, positions, strict=True)
    ]


def _hovers(
    series: Mapping[str, Sequence[Point]], x: Scale, format_value: Callable[[float], str]
) -> list[Hover]:
    """Return bands around evenly chosen rounds, each with the values of all curves there."""
    curves = {name: dict(points) for name, points in series.items()}
    round_numbers = sorted(set().union(*curves.values()))
    bands = min(len(round_numbers), MAX_HOVERS)
    chosen = [round_numbers[index * len(round_numbers) // bands] for index in range(bands)]
    edges = [x.low, *((a + b) / 2 for a, b in pairwise(chosen)), x.high]
    return [
        Hover(
            x(left),
            x(right) - x(left),
            " · ".join(
                [
                    f"Round {round_number}",
                    *(
                        f"{name} {format_value(curve_values[round_number])}"
                        for name, curve_values in curves.items()
                        if round_number in curve_values
                    ),
                ]
            ),
        )
        for round_number, left, right in zip(chosen, edges, edges[1:], strict=False)
    ]
