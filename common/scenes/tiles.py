"""Tiles of a large photo, which overlap, and the merging of the boxes found in them.

An item in the strip that two tiles share is found twice, and an item on a tile's edge is cut. Two
boxes of different tiles are taken for one item if they agree in the part of the photo that both
tiles show: there, their intersection over union is at least one half. It is then the surest box
that no tile's edge cuts; if all are cut, the box around all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.scenes.boxes import Boxes

OVERLAP = 0.25
"""Share of a tile's side that it has in common with the next one, unless more is asked for."""

SAMPLED_TILES = 3
"""Tiles in a row, and in a column, that stand for all of a view."""

SAME_ITEM = 0.5
"""Intersection over union, in the shared part, from which on two boxes are of one item."""

_EDGE_SHARE = 0.02  # of a tile's side: a box that ends so near to a tile's edge is cut by it


@dataclass(frozen=True)
class PhotoTile:
    """A part of a photo, in its pixels; the right and bottom edge are outside of the part."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """The width and height."""
        return self.right - self.left, self.bottom - self.top


@dataclass
class _Items:
    """Boxes, the parts of the photo in which they were looked for, and whether these cut them.

    Attributes:
        corners: float32 [K, 4]
        seen_in: float32 [K, 4], the same form
        is_in: bool [K, T], the tiles in which each was found
        labels: int64 [K], classes
        scores: float64 [K]
        is_cut: bool [K]
    """

    corners: NDArray[np.float32]
    seen_in: NDArray[np.float32]
    is_in: NDArray[np.bool_]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    is_cut: NDArray[np.bool_]

    def select(self, places: NDArray[np.int64] | slice) -> "_Items":
        """Return those at some places; of a slice they are views."""
        return _Items(*(getattr(self, column.name)[places] for column in fields(self)))

    def put(self, place: int, one: "_Items") -> None:
        """Write a single one to a place."""
        for column in fields(self):
            getattr(self, column.name)[place] = getattr(one, column.name)[0]


def cut_tiles(width: int, height: int, count: int, overlap: float = OVERLAP) -> list[PhotoTile]:
    """Return `count` by `count` tiles of one size, in rows, that cover a photo.

    Tiles have the photo's proportions, so that products look in them as they do on whole photos.

    Args:
        width: of the photo in pixels
        height: of the photo in pixels
        count: tiles in a row, and in a column; fewer where the photo has fewer pixels
        overlap: share of a tile's side that the next tile shows too, 0 to below 1
    """
    columns = _starts(width, count, overlap)
    rows = _starts(height, count, overlap)
    return [PhotoTile(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def _starts(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """Return the first and the end pixel of each tile along one side."""
    count = min(count, length)
    side = min(length, int(np.ceil(length / (count - (count - 1) * overlap))))
    starts = np.rint(np.linspace(0, length - side, count)).astype(int)
    return [(int(start), int(start) + side) for start in starts]


def spread_tiles(count: int, most: int = SAMPLED_TILES) -> list[int]:
    """Return the places of at most `most` by `most` among `count` by `count` tiles, spread evenly.

    They stand for all: what is true of them is likely to be true of the photo.

    Args:
        count: tiles in a row, and in a column
        most: of the tiles in a row that are taken

    >>> spread_tiles(2), spread_tiles(4)
    ([0, 1, 2, 3], [0, 2, 3, 8, 10, 11, 12, 14, 15])
    """
    steps = sorted({int((step + 0.5) * count / most) for step in range(most)})
    return [row * count + column for row in steps for column in steps]


def merge_tiles(
    tiles: Sequence[PhotoTile], found: Sequence[Boxes], width: int, height: int
) -> Boxes:
    """Return the boxes of a photo, each item's once, the surest first.

    Boxes of one tile are never merged with each other.

    Args:
        tiles: parts of the photo; one may be the whole
        found: the boxes in each, in pixels of that tile
        width: of the photo in pixels
        height: of the photo in pixels
    """
    items = _all_items(tiles, found, width, height)
    # those that are kept move to the front, where they get their merged box, score and tiles
    count = 0
    for place in range(len(items.scores)):
        item = items.select(np.array([place]))
        same = np.flatnonzero(_is_same(items.select(slice(count)), item))
        if not len(same):
            items.put(count, item)
            count += 1
            continue
        first = same[0]
        items.is_in[first] |= item.is_in[0]
        items.scores[first] = max(items.scores[first], item.scores[0])
        if items.is_cut[first]:
            items.corners[first] = _around(items.corners[first], item.corners[0])
            items.seen_in[first] = _around(items.seen_in[first], item.seen_in[0])
    merged = items.select(slice(count))
    merged = merged.select(np.argsort(-merged.scores, kind="stable"))
    return Boxes(merged.corners, merged.labels, merged.scores.astype(np.float32))


def _all_items(
    tiles: Sequence[PhotoTile], found: Sequence[Boxes], width: int, height: int
) -> _Items:
    """Return the boxes of all tiles, in pixels of the photo: whole ones first, then by score."""
    tile_of = np.repeat(np.arange(len(tiles)), [len(boxes) for boxes in found])
    parts = np.array(
        [[tile.left, tile.top, tile.right, tile.bottom] for tile in tiles], np.float32
    ).reshape(-1, 4)[tile_of]
    boxes = np.concatenate([np.empty((0, 4), np.float32), *(each.corners for each in found)])
    corners = boxes + np.tile(parts[:, :2], 2)
    sizes = np.tile(parts[:, 2:] - parts[:, :2], 2)
    is_inner = parts != np.array([0, 0, width, height], np.float32)
    near = np.abs(corners - parts) <= _EDGE_SHARE * sizes
    items = _Items(
        corners,
        parts,
        tile_of[:, None] == np.arange(len(tiles)),
        np.concatenate([np.empty(0, np.int64), *(each.classes for each in found)]),
        np.concatenate([np.empty(0), *(each.scores for each in found)]),
        (near & is_inner).any(axis=1),
    )
    return items.select(np.lexsort((-items.scores, items.is_cut)))


def _is_same(known: _Items, item: _Items) -> NDArray[np.bool_]:
    """Return which of K known boxes agree with one of another tile in the part that both show.

    Args:
        known: K of them
        item: one, which was found in one tile
    """
    low = np.maximum(known.seen_in[:, :2], item.seen_in[:, :2])
    high = np.minimum(known.seen_in[:, 2:], item.seen_in[:, 2:])
    first_low, first_high, second_low, second_high = (
        np.minimum(np.maximum(edges, low), high)
        for box in (known.corners, item.corners)
        for edges in (box[:, :2], box[:, 2:])
    )
    shared = np.minimum(first_high, second_high) - np.maximum(first_low, second_low)
    both = shared.clip(0).prod(axis=1)
    union = (first_high - first_low).prod(1) + (second_high - second_low).prod(1) - both
    is_other = ~known.is_in[:, item.is_in[0].argmax()] & (low < high).all(axis=1)
    is_same: NDArray[np.bool_] = is_other & (both > 0) & (both >= SAME_ITEM * union)
    return is_same


def _around(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smallest box around two boxes, [4]."""
    return np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])
