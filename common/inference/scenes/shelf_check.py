"""The comparison of a photo's products with a planogram: gaps, wrong products, doubtful ones.

Rectangles are of one camera's view: a product belongs to the rectangle that holds most of it, at
least one half. Shelves need no fixed view: products whose lower edges are level stand on one shelf,
and each shelf's products are aligned with its places from left to right, so that one gap does not
shift all that follow. Where products stand apart by a product's width, there is room for a gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

import numpy as np

from fedshelf.common.inference.scenes.alignment import align
from fedshelf.common.inference.scenes.planogram import Place, Planogram
from fedshelf.common.inference.scenes.products import LocatedProduct
from fedshelf.common.scenes.boxes import Boxes

Outcome = Literal["right", "wrong", "unsure", "unknown", "gap"]

OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "unsure", "unknown", "gap")

# Costs of pairing a place with what is seen, and of leaving either alone. A right product costs
# nothing, another one more than a doubtful one; but two that changed places are two wrong ones, and
# not a gap with a product too many beside it.
_PAIR_COSTS: dict[Outcome, float] = {
    "right": 0.0,
    "unsure": 0.4,
    "unknown": 0.6,
    "wrong": 0.9,
    "gap": 0.5,
}
_ALONE = 1.0
_ROOM_ALONE = 0.01  # room for a product that the plan does not ask for, as between two shelves
_ROOM = 0.7  # of a shelf's median product width: so far apart, products leave room for another one
_LEVEL = 0.5  # of the median product height: lower edges so far apart are of two shelves


@dataclass(frozen=True)
class PlaceFinding:
    """The finding at a place.

    Attributes:
        place: of the planogram
        outcome: right, wrong, unsure, unknown or gap
        product: that is seen there; None: a gap
    """

    place: Place
    outcome: Outcome
    product: LocatedProduct | None


@dataclass(frozen=True)
class ShelfFindings:
    """The comparison of one photo with a planogram.

    Attributes:
        places: each place of the planogram, in its order
        extra: products at no place
    """

    places: tuple[PlaceFinding, ...]
    extra: tuple[LocatedProduct, ...]

    def count(self, outcome: Outcome) -> int:
        """Return the number of places with an outcome."""
        return sum(finding.outcome == outcome for finding in self.places)


def check_shelf(
    plan: Planogram, products: Sequence[LocatedProduct], width: int, height: int
) -> ShelfFindings:
    """Compare the products of a photo with a planogram.

    Args:
        plan: the places
        products: seen on the photo, named
        width: of the photo in pixels
        height: of the photo in pixels
    """
    if plan.has_rectangles:
        return _by_rectangles(plan, products, width, height)
    return _by_shelves(plan, products)


def _outcome(place: Place, product: LocatedProduct | None) -> Outcome:
    if product is None:
        return "gap"
    if product.verdict in ("unsure", "unknown"):
        return product.verdict
    return "right" if product.name == place.product else "wrong"


def _by_rectangles(
    plan: Planogram, products: Sequence[LocatedProduct], width: int, height: int
) -> ShelfFindings:
    """Compare by rectangles: of several products in one, the worst decides."""
    size = np.array([width, height] * 2, np.float32)
    rectangles = [np.asarray(place.rectangle, np.float32) * size for place in plan.places]
    within: list[list[LocatedProduct]] = [[] for _ in rectangles]
    extra = []
    for product in products:
        box = np.asarray(product.box, np.float32)
        shares = [_shared_area(box, rectangle) for rectangle in rectangles]
        best = int(np.argmax(shares))
        if shares[best] >= 0.5 * Boxes.drawn(box[None]).areas[0]:
            within[best].append(product)
        else:
            extra.append(product)
    worst = ("wrong", "unknown", "unsure", "right")
    findings = []
    for place, inside in zip(plan.places, within, strict=True):
        inside.sort(key=lambda product: worst.index(_outcome(place, product)))
        seen = inside[0] if inside else None
        findings.append(PlaceFinding(place, _outcome(place, seen), seen))
    return ShelfFindings(tuple(findings), tuple(extra))


def _shared_area(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    return float(sides.clip(0).prod())


def _by_shelves(plan: Planogram, products: Sequence[LocatedProduct]) -> ShelfFindings:
    """Compare by shelves: rows of products are aligned with shelves, and products with places."""
    shelves = plan.shelves
    rows = [_with_room(row) for row in rows_of(products)]
    aligned = {
        (shelf, row): _align_shelf(shelves[shelf], rows[row])
        for shelf in range(len(shelves))
        for row in range(len(rows))
    }
    _, pairs = align(
        len(shelves),
        len(rows),
        lambda shelf, row: aligned[shelf, row][0],
        lambda shelf: _ALONE * len(shelves[shelf]),
        lambda row: _ALONE * sum(product is not None for product in rows[row]),
    )
    findings: list[PlaceFinding] = []
    extra: list[LocatedProduct] = []
    for shelf, row in pairs:
        if shelf is None:
            assert row is not None
            extra += [product for product in rows[row] if product is not None]
        elif row is None:
            findings += [PlaceFinding(place, "gap", None) for place in shelves[shelf]]
        else:
            for place, seen in aligned[shelf, row][1]:
                product = None if seen is None else rows[row][seen]
                if place is not None:
                    expected = shelves[shelf][place]
                    findings.append(PlaceFinding(expected, _outcome(expected, product), product))
                elif product is not None:
                    extra.append(product)
    return ShelfFindings(tuple(findings), tuple(extra))


def _align_shelf(
    places: Sequence[Place], row: Sequence[LocatedProduct | None]
) -> tuple[float, list[tuple[int | None, int | None]]]:
    return align(
        len(places),
        len(row),
        lambda place, seen: _PAIR_COSTS[_outcome(places[place], row[seen])],
        lambda _: _ALONE,
        lambda seen: _ROOM_ALONE if row[seen] is None else _ALONE,
    )


def rows_of(products: Sequence[LocatedProduct]) -> list[list[LocatedProduct]]:
    """Return the products of each shelf from left to right, the top shelf first.

    Lower edges of one shelf may drift, as on a photo taken at an angle: a shelf ends where the next
    lower edge is further down by half of the median height.
    """
    if not products:
        return []
    limit = _LEVEL * median(product.box[3] - product.box[1] for product in products)
    by_level = sorted(products, key=lambda product: product.box[3])
    rows = [[by_level[0]]]
    for above, product in pairwise(by_level):
        if product.box[3] - above.box[3] > limit:
            rows.append([])
        rows[-1].append(product)
    return [sorted(row, key=lambda product: product.box[0] + product.box[2]) for row in rows]


def _with_room(row: Sequence[LocatedProduct]) -> list[LocatedProduct | None]:
    """Return a shelf's products with a None for each product that has room between two."""
    width = median(product.box[2] - product.box[0] for product in row)
    spaced: list[LocatedProduct | None] = [row[0]]
    for left, right in pairwise(row):
        space = right.box[0] - left.box[2]
        if space >= _ROOM * width:
            spaced += [None] * max(1, round(space / width))
        spaced.append(right)
    return spaced
