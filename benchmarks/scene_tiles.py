"""The tiles of large photos: those that a locator chooses, beside fixed numbers of them.

A large photo is put together of drawn shelves, `across` by `down` of `side` pixels each, all of one
style; its products are of designs that no locator has learned. The way to choose tiles was found on
the photos of `tuning`; those of `test` were drawn for the figures. AP50 is of all boxes from a
score of 0.1 on, in percent; products of which less than half is seen are left out. `ours` is
`locate_scene` without a number of tiles, `best` the fixed number that is best for the photo, which
nobody knows beforehand.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from fedshelf.common.inference.loading import load_locator
from fedshelf.common.inference.locators.box_predictor import LEAST_SCORE, BoxPredictor
from fedshelf.common.inference.scenes.locating import MAX_TILES, locate_scene
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.average_precision import AveragePrecision
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.difficult import DIFFICULT, counted
from fedshelf.simulations.datasets.scenes import draw_scenes
from fedshelf.simulations.datasets.scenes.composition import DIFFICULT_BELOW


@dataclass(frozen=True)
class LargeShelf:
    """A photo that is put together: shelves across and down, the side of each in pixels."""

    across: int
    down: int
    side: int
    style: str


SHELVES = {
    "tuning": (
        LargeShelf(1, 1, 512, "gondola"),
        LargeShelf(1, 1, 512, "table"),
        LargeShelf(2, 2, 300, "fridge"),
        LargeShelf(2, 2, 256, "wood"),
        LargeShelf(3, 3, 300, "pegboard"),
        LargeShelf(3, 3, 200, "gondola"),
        LargeShelf(4, 4, 256, "table"),
        LargeShelf(4, 3, 256, "fridge"),
        LargeShelf(5, 5, 200, "wood"),
        LargeShelf(6, 6, 200, "pegboard"),
        LargeShelf(8, 6, 200, "gondola"),
        LargeShelf(8, 8, 160, "fridge"),
        LargeShelf(3, 4, 300, "wood"),
    ),
    "test": (
        LargeShelf(1, 1, 640, "fridge"),
        LargeShelf(1, 1, 400, "pegboard"),
        LargeShelf(2, 2, 400, "gondola"),
        LargeShelf(2, 2, 200, "table"),
        LargeShelf(3, 3, 220, "fridge"),
        LargeShelf(3, 2, 320, "table"),
        LargeShelf(4, 4, 200, "wood"),
        LargeShelf(4, 3, 300, "gondola"),
        LargeShelf(5, 5, 180, "pegboard"),
        LargeShelf(6, 4, 220, "table"),
        LargeShelf(7, 7, 180, "fridge"),
        LargeShelf(8, 6, 220, "wood"),
        LargeShelf(10, 8, 160, "gondola"),
        LargeShelf(3, 4, 240, "pegboard"),
    ),
}
_SEEDS = {"tuning": 1001, "test": 2002}  # of the first photo; the data set's are 0 and 1


def add_mode(modes: Any) -> None:
    """Add `tiles` to the modes of a command line."""
    mode = modes.add_parser(
        "tiles",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="tiles of large photos: chosen, and fixed numbers",
    )
    mode.add_argument("locator", type=Path, help="trained on shelf-scenes")
    mode.add_argument("--photos", default="test", choices=SHELVES)
    mode.add_argument("--fixed", default="1,2,3,4,5,6,8,10,12", help="tiles in a row")
    mode.set_defaults(measure=compare)


def compare(options: argparse.Namespace) -> None:
    """Look at all photos in all ways, and print a table."""
    torch.set_num_threads(1)  # two wait for each other on busy cores, by spinning
    locator = load_locator(options.locator, "cpu")
    fixed = [int(count) for count in options.fixed.split(",")]
    assert max(fixed) <= MAX_TILES
    columns = ["ours", "best", *map(str, fixed)]
    table = Table(title=f"AP50, {options.photos} photos", title_justify="left")
    for title in ("shelves", "pixels", "products", *columns, "CPU s of ours"):
        table.add_column(title, justify="right")
    rows: list[list[float]] = []
    for shelf, photo, true in photos(options.photos):
        began = time.process_time()
        ours = ap_50(locator, photo, true, None)
        seconds = time.process_time() - began
        of_fixed = [ap_50(locator, photo, true, count) for count in fixed]
        rows.append([ours, max(of_fixed), *of_fixed])
        name = f"{shelf.across} x {shelf.down} {shelf.style}"
        cells = [f"{figure:.0f}" for figure in rows[-1]]
        table.add_row(
            name, f"{photo.width} x {photo.height}", f"{len(true):,}", *cells, f"{seconds:.1f}"
        )
    means = [f"{fmean(column):.1f}" for column in zip(*rows, strict=True)]
    table.add_row("mean", "", "", *means, "")
    console = Console(width=200)
    console.print(table)
    console.print(" · ".join(machine().values()), highlight=False)


def photos(name: str) -> Iterator[tuple[LargeShelf, Image.Image, Boxes]]:
    """Yield the large photos of a set with the boxes of their products.

    Args:
        name: a key of `SHELVES`
    """
    for number, shelf in enumerate(SHELVES[name]):
        count, side = shelf.across * shelf.down, shelf.side
        drawn = draw_scenes(count, side, _SEEDS[name] + number, style=shelf.style)
        photo = Image.new("RGB", (shelf.across * side, shelf.down * side))
        corners, classes = [], []
        for place in range(count):
            row, column = divmod(place, shelf.across)
            photo.paste(Image.fromarray(drawn.photos[place]), (column * side, row * side))
            corners.append(drawn.boxes[place].corners + [column * side, row * side] * 2)
            classes.append(np.where(drawn.seen[place] < DIFFICULT_BELOW, DIFFICULT, -1))
        yield shelf, photo, Boxes.drawn(np.concatenate(corners), np.concatenate(classes))


def ap_50(locator: BoxPredictor, photo: Image.Image, true: Boxes, tiles: int | None) -> float:
    """Return the AP50 of a locator on one photo, in percent.

    Args:
        locator: finds the products
        photo: RGB
        true: boxes of all its products
        tiles: in a row; None: as the locator chooses
    """
    found, products = counted(locate_scene(locator, photo, tiles, LEAST_SCORE), true)
    metric = AveragePrecision()
    return 100 * metric.values(metric.sums([found], [products]), Counts.zero(1))["ap_50"]
