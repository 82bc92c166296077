"""Tiles of a large photo, which overlap, and the merging of the boxes found in them.

An item in the strip that two tiles share is found twice, and an item on a tile's edge is cut. Two
boxes of different tiles are taken for one item if they agree in the part of the photo that both
tiles show: there, their intersection over union is at least one half. It is then the surest box
that no tile's edge cuts; if all are cut, the box around all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.scenes.boxes import Boxes

OVERLAP = 0.25
"""Share of a tile's side that it has in common with the next one, unless more is asked for."""

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
class _Item:
    """A box, the part of the photo in which it was looked for, and whether that part cuts it."""

    box: NDArray[np.float32]  # [4]
    seen_in: NDArray[np.float32]  # [4]
    tiles: set[int]
    label: int
    score: float
    is_cut: bool


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
    candidates = [
        item
        for number, (tile, boxes) in enumerate(zip(tiles, found, strict=True))
        for item in _items(number, tile, boxes, (width, height))
    ]
    candidates.sort(key=lambda item: (item.is_cut, -item.score))
    kept: list[_Item] = []
    for item in candidates:
        same = next((known for known in kept if _is_same(known, item)), None)
        if same is None:
            kept.append(item)
            continue
        same.tiles |= item.tiles
        same.score = max(same.score, item.score)
        if same.is_cut:
            same.box = _around(same.box, item.box)
            same.seen_in = _around(same.seen_in, item.seen_in)
    kept.sort(key=lambda item: -item.score)
    return Boxes(
        np.array([item.box for item in kept], np.float32).reshape(-1, 4),
        np.array([item.label for item in kept], np.int64),
        np.array([item.score for item in kept], np.float32),
    )


def _items(number: int, tile: PhotoTile, boxes: Boxes, photo: tuple[int, int]) -> list[_Item]:
    """Return the boxes of one tile, in pixels of the photo."""
    corner = np.array([tile.left, tile.top] * 2, np.float32)
    part = np.array([tile.left, tile.top, tile.right, tile.bottom], np.float32)
    size = np.array(tile.size * 2, np.float32)
    is_inner = part != np.array([0, 0, *photo], np.float32)
    corners = boxes.corners + corner
    near = np.abs(corners - part) <= _EDGE_SHARE * size
    return [
        _Item(box, part, {number}, int(label), float(score), bool(is_cut))
        for box, label, score, is_cut in zip(
            corners, boxes.classes, boxes.scores, (near & is_inner).any(axis=1), strict=True
        )
    ]


def _is_same(known: _Item, item: _Item) -> bool:
    """Return whether two boxes of different tiles agree in the part that both tiles show."""
    if known.tiles & item.tiles:
        return False
    low = np.maximum(known.seen_in[:2], item.seen_in[:2])
    high = np.minimum(known.seen_in[2:], item.seen_in[2:])
    if (low >= high).any():
        return False
    first, second = (
        np.concatenate([box.box[:2].clip(low, high), box.box[2:].clip(low, high)])
        for box in (known, item)
    )
    shared = (np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])).clip(0)
    both = shared.prod()
    union = (first[2:] - first[:2]).prod() + (second[2:] - second[:2]).prod() - both
    return bool(both > 0 and both >= SAME_ITEM * union)


def _around(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smallest box around two boxes, [4]."""
    return np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])
