"""Geometry of the confusion matrix, drawn with few elements up to about 80 classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedshelf.common.text import printable
from fedshelf.server.formatting import percent

SHADE_COUNT = 10
MAX_TOOLTIPS = 400
MAX_LABEL_CHARACTERS = 16
MAX_NUMBERED_CLASSES = 12  # up to this many classes, cells have room for a number


@dataclass(frozen=True)
class Shade:
    """All cells of one colour.

    Attributes:
        kind:     "right" (diagonal) or "wrong"
        strength: 0..1
        path:     their outline, as SVG path data
    """

    kind: str
    strength: float
    path: str


@dataclass(frozen=True)
class Cell:
    """A cell with a tooltip.

    Attributes:
        column: index of the predicted class
        row:    index of the true class
        tip:    tooltip
        number: percentage, if there is room for it; else empty
        strong: True if its colour is so dark that the number has to be light
    """

    column: int
    row: int
    tip: str
    number: str
    strong: bool


@dataclass(frozen=True)
class HeatMap:
    """A confusion matrix [C, C], row = true class.

    Attributes:
        classes: names of the C classes
        labels:  the names, shortened
        cell:    side of a cell, in box units
        gutter:  width of the labels, in box units
        shades:  the cells by colour
        cells:   the cells with a tooltip
    """

    classes: list[str]
    labels: list[str]
    cell: int
    gutter: int
    shades: list[Shade]
    cells: list[Cell]


def heat_map(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], max_tooltips: int = MAX_TOOLTIPS
) -> HeatMap:
    """Lay out a confusion matrix, shaded by share of the row, so that rare classes show, too.

    Args:
        classes:      names of the C classes
        confusion:    image counts [C, C], row = true class
        max_tooltips: cells that get a tooltip, those with the largest shares
    """
    nonzero = [
        (row, column, count, sum(counts))
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count
    ]
    names = [printable(name) for name in classes]
    outlines: dict[tuple[str, int], list[str]] = {}
    cell = 36 if len(names) <= MAX_NUMBERED_CLASSES else 14
    for row, column, count, total in nonzero:
        kind = "right" if row == column else "wrong"
        # The root lifts the small shares: the mistakes, which a reader looks for.
        level = math.ceil(SHADE_COUNT * math.sqrt(count / total))
        outlines.setdefault((kind, level), []).append(
            f"M{column * cell} {row * cell}h{cell}v{cell}h-{cell}z"
        )
    labels = [shorten_label(name) for name in names]
    return HeatMap(
        classes=names,
        labels=labels,
        cell=cell,
        gutter=12
        + round((7.0 if cell > 20 else 6.2) * max((len(label) for label in labels), default=0)),
        shades=[
            Shade(kind, level / SHADE_COUNT, "".join(path))
            for (kind, level), path in sorted(outlines.items())
        ],
        cells=_cells(names, nonzero, max_tooltips),
    )


def shorten_label(name: str) -> str:
    """Return the name, cut to the length of a label."""
    return name if len(name) <= MAX_LABEL_CHARACTERS else name[: MAX_LABEL_CHARACTERS - 1] + "…"


def _cells(
    names: list[str], nonzero: list[tuple[int, int, int, int]], max_tooltips: int
) -> list[Cell]:
    largest = sorted(nonzero, key=lambda cell: -cell[2] / cell[3])[:max_tooltips]
    return [
        Cell(
            column=column,
            row=row,
            tip=(
                f"{names[row]} taken for {names[column]}: {count:,} of {total:,}"
                f" ({percent(count / total)})"
                if row != column
                else f"{names[row]} recognised: {count:,} of {total:,} ({percent(count / total)})"
            ),
            number=(
                f"{100 * count / total:.0f}"
                if len(names) <= MAX_NUMBERED_CLASSES and count / total >= 0.01
                else ""
            ),
            strong=count / total > 0.3,
        )
        for row, column, count, total in largest
    ]
