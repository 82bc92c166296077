"""Styles of shelves: numbers that say how a shop looks.

Lengths are shares of the distance between two shelves, or of the photo where it says so.
"""

from dataclasses import dataclass
from typing import Literal

Range = tuple[float, float]
"""The least and the largest value of a number that is drawn anew for each scene."""


@dataclass(frozen=True)
class ShelfStyle:
    """The look of the shelves in one kind of shop.

    Attributes:
        rows: shelves in a photo's height
        wall: saturation and value of the colour behind the goods (HSV, 0..1)
        wall_hue: its hue, 0..6 (red 0, yellow 1, green 2, blue 4)
        board: thickness of a shelf; 0: there is none
        rows_overlap: part of an item's height that the row in front of it may hide
        facings: most items of one design side by side
        gap: between two items, as a share of an item's width; negative: they hide each other
        empty: probability that a place is empty
        second_rank: probability that a design stands in a second rank, behind the first
        tags: probability of a price tag below a design
        surface: the pattern behind the goods
        hangs: whether items hang from hooks
        glass: whether a glass door with reflections stands before the goods
        light: brightness of the scene
        warmth: red gained and blue lost in its light
    """

    rows: Range
    wall: tuple[Range, Range]
    wall_hue: Range
    board: float
    facings: int
    gap: Range
    empty: float
    second_rank: float
    tags: float
    rows_overlap: float = 0.0
    surface: Literal["plain", "planks", "holes"] = "plain"
    hangs: bool = False
    glass: bool = False
    light: Range = (0.8, 1.05)
    warmth: Range = (-0.05, 0.05)


SHELF_STYLES = {
    "gondola": ShelfStyle(
        rows=(1.8, 2.9),
        wall=((0.0, 0.12), (0.55, 0.9)),
        wall_hue=(0, 6),
        board=0.12,
        facings=4,
        gap=(0.02, 0.15),
        empty=0.12,
        second_rank=0.5,
        tags=0.6,
    ),
    "wood": ShelfStyle(
        rows=(1.6, 2.3),
        wall=((0.3, 0.6), (0.25, 0.6)),
        wall_hue=(0.4, 0.75),
        board=0.09,
        facings=2,
        gap=(0.05, 0.5),
        empty=0.25,
        second_rank=0.2,
        tags=0.2,
        surface="planks",
        light=(0.7, 1.0),
        warmth=(0.02, 0.14),
    ),
    "fridge": ShelfStyle(
        rows=(2.0, 3.0),
        wall=((0.1, 0.5), (0.1, 0.35)),
        wall_hue=(3.2, 4.2),
        board=0.05,
        facings=4,
        gap=(0.01, 0.1),
        empty=0.15,
        second_rank=0.8,
        tags=0.3,
        glass=True,
        light=(0.65, 0.95),
        warmth=(-0.14, -0.02),
    ),
    "pegboard": ShelfStyle(
        rows=(1.8, 2.6),
        wall=((0.05, 0.35), (0.6, 0.9)),
        wall_hue=(0.3, 1.2),
        board=0.0,
        facings=3,
        gap=(0.15, 0.5),
        empty=0.2,
        second_rank=0.0,
        tags=0.3,
        surface="holes",
        hangs=True,
    ),
    "table": ShelfStyle(
        rows=(2.4, 3.4),
        wall=((0.1, 0.8), (0.25, 0.8)),
        wall_hue=(0, 6),
        board=0.0,
        facings=3,
        gap=(-0.18, 0.2),
        empty=0.15,
        second_rank=0.0,
        tags=0.0,
        rows_overlap=0.35,
        light=(0.75, 1.1),
        warmth=(-0.03, 0.1),
    ),
}
