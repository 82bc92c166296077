"""Geometry of the confusion matrix, drawn with few elements up to about 80 classes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedshelf.common.wording import printable
from fedshelf.server.formatting import percent

SHADES = 10
MOST_TIPS = 400
MOST_LETTERS = 16
NUMBERED = 12  # up to this many classes, cells have room for a number


@dataclass(frozen=True)
class Shade:
    """All cells of one colour: "right" (diagonal) or "wrong", their strength (0..1), and their
    outline.
    """

    kind: str
    strength: float
    path: str


@dataclass(frozen=True)
class Cell:
    """A cell with a tooltip: column, row, text, and its number if there is room for one."""

    column: int
    row: int
    tip: str
    number: str
    strong: bool


@dataclass(frozen=True)
class HeatMap:
    """A confusion matrix [C, C], row = true class; each cell is `cell` units wide."""

    classes: list[str]
    labels: list[str]
    cell: int
    gutter: int
    shades: list[Shade]
    cells: list[Cell]


def heat_map(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], most_tips: int = MOST_TIPS
) -> HeatMap:
    """Lay out counts [C, C]; shading is by share of the row, so that rare classes show as well as
    common ones.
    """
    shown = [
        (row, column, count, sum(counts))
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if count
    ]
    names = [printable(name) for name in classes]
    outlines: dict[tuple[str, int], list[str]] = {}
    cell = 36 if len(names) <= NUMBERED else 14
    for row, column, count, total in shown:
        kind = "right" if row == column else "wrong"
        # The root lifts the small shares: the mistakes, which a reader looks for.
        level = math.ceil(SHADES * math.sqrt(count / total))
        outlines.setdefault((kind, level), []).append(
            f"M{column * cell} {row * cell}h{cell}v{cell}h-{cell}z"
        )
    labels = [shortened(name) for name in names]
    return HeatMap(
        classes=names,
        labels=labels,
        cell=cell,
        gutter=12
        + round((7.0 if cell > 20 else 6.2) * max((len(label) for label in labels), default=0)),
        shades=[
            Shade(kind, level / SHADES, "".join(path))
            for (kind, level), path in sorted(outlines.items())
        ],
        cells=_cells(names, shown, most_tips),
    )


def shortened(name: str) -> str:
    """Return the name, cut to the length of a label."""
    return name if len(name) <= MOST_LETTERS else name[: MOST_LETTERS - 1] + "…"


def _cells(names: list[str], shown: list[tuple[int, int, int, int]], most: int) -> list[Cell]:
    largest = sorted(shown, key=lambda cell: -cell[2] / cell[3])[:most]
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
                if len(names) <= NUMBERED and count / total >= 0.01
                else ""
            ),
            strong=count / total > 0.3,
        )
        for row, column, count, total in largest
    ]
