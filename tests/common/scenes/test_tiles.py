"""Tiles cover a photo, and an item in several tiles counts once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.common.scenes.boxes import Boxes, overlaps
from fedshelf.common.scenes.tiles import OVERLAP, PhotoTile, cut_tiles, merge_tiles

WIDTH, HEIGHT = 800, 600


def seen_in(tile: PhotoTile, items: Boxes, noise: np.ndarray | None = None) -> Boxes:
    """The items as a locator without faults finds them: only what lies in the tile."""
    part = np.array([tile.left, tile.top, tile.right, tile.bottom], np.float32)
    corners = items.corners + (0 if noise is None else noise)
    inside = np.concatenate(
        [corners[:, :2].clip(part[:2], part[2:]), corners[:, 2:].clip(part[:2], part[2:])], axis=1
    )
    shown = ((inside[:, 2:] - inside[:, :2]) >= 3).all(axis=1)
    shifted = Boxes((inside - part[[0, 1, 0, 1]]).astype(np.float32), items.classes, items.scores)
    return shifted.select(shown)


def in_order(boxes: Boxes) -> list[list[float]]:
    return sorted(boxes.corners.round(3).tolist())


@given(
    st.integers(1, 500), st.integers(1, 500), st.integers(1, 6), st.sampled_from([0.0, 0.25, 0.6])
)
def test_tiles_are_alike_and_cover_the_photo(
    width: int, height: int, count: int, overlap: float
) -> None:
    tiles = cut_tiles(width, height, count, overlap)
    assert len({tile.size for tile in tiles}) == 1
    shown = np.zeros((height, width), bool)
    for tile in tiles:
        assert 0 <= tile.left < tile.right <= width
        assert 0 <= tile.top < tile.bottom <= height
        shown[tile.top : tile.bottom, tile.left : tile.right] = True
    assert shown.all()


def test_neighbours_share_a_quarter() -> None:
    first, second, *_ = cut_tiles(700, 700, 2)
    assert first == PhotoTile(0, 0, 400, 400)
    assert second == PhotoTile(300, 0, 700, 400)
    assert (first.right - second.left) / 400 == OVERLAP


@st.composite
def shelves(draw: st.DrawFn) -> Boxes:
    """Items that lie apart from each other, each smaller than what neighbouring tiles share."""
    cell = 60
    cells = [(x, y) for y in range(0, HEIGHT, cell) for x in range(0, WIDTH - cell, cell)]
    chosen = draw(st.lists(st.sampled_from(cells), min_size=1, max_size=40, unique=True))
    corners = []
    for x, y in chosen:
        width, height = draw(st.integers(12, 50)), draw(st.integers(12, 50))
        left = x + draw(st.integers(0, cell - width))
        top = y + draw(st.integers(0, cell - height))
        corners.append([left, top, left + width, top + height])
    scores = np.linspace(0.9, 0.3, len(chosen)).astype(np.float32)
    return Boxes(np.array(corners, np.float32), np.zeros(len(chosen), np.int64), scores)


@given(shelves(), st.integers(1, 4), st.booleans())
def test_every_item_counts_once(items: Boxes, count: int, has_whole: bool) -> None:
    tiles = [
        *cut_tiles(WIDTH, HEIGHT, count),
        *([PhotoTile(0, 0, WIDTH, HEIGHT)] if has_whole else []),
    ]
    merged = merge_tiles(tiles, [seen_in(tile, items) for tile in tiles], WIDTH, HEIGHT)
    assert in_order(merged) == in_order(items)
    assert merged.scores.tolist() == sorted(items.scores.tolist(), reverse=True)


@given(shelves(), st.integers(0, 2**32 - 1))
def test_boxes_that_differ_a_little_count_once_too(items: Boxes, seed: int) -> None:
    draws = np.random.default_rng(seed)
    tiles = cut_tiles(WIDTH, HEIGHT, 3)
    found = [seen_in(tile, items, draws.uniform(-1, 1, (len(items), 4))) for tile in tiles]
    merged = merge_tiles(tiles, found, WIDTH, HEIGHT)
    assert len(merged) == len(items)
    assert (overlaps(merged, items).max(axis=0) > 0.6).all()


def test_an_item_longer_than_what_tiles_share_is_joined_from_its_parts() -> None:
    items = Boxes.drawn(np.array([[150, 50, 650, 150], [20, 250, 780, 280]]))
    tiles = cut_tiles(WIDTH, HEIGHT, 2)
    assert tiles[0].size[0] < 500
    merged = merge_tiles(tiles, [seen_in(tile, items) for tile in tiles], WIDTH, HEIGHT)
    assert in_order(merged) == in_order(items)


def test_boxes_of_one_tile_stay_apart() -> None:
    """Boxes of one tile stay apart: the locator decides which are of one item."""
    items = Boxes.drawn(np.array([[10, 10, 50, 50], [12, 10, 52, 50]]))
    merged = merge_tiles([PhotoTile(0, 0, WIDTH, HEIGHT)], [items], WIDTH, HEIGHT)
    assert in_order(merged) == in_order(items)


def test_nothing_found_is_no_box() -> None:
    nothing = Boxes.drawn(np.zeros((0, 4)))
    assert len(merge_tiles([PhotoTile(0, 0, 9, 9)], [nothing], 9, 9)) == 0
