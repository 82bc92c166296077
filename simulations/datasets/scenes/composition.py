"""Composition of one scene: goods on shelves, seen by a camera, with the boxes that people draw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fedshelf.common.scenes.boxes import Boxes
from fedshelf.simulations.datasets.scenes import surroundings
from fedshelf.simulations.datasets.scenes.goods import Good
from fedshelf.simulations.datasets.scenes.photographing import MARGIN, Camera, canvas_pixels
from fedshelf.simulations.datasets.scenes.styles import ShelfStyle
from fedshelf.simulations.datasets.scenes.surroundings import Canvas, between

HIDDEN = 255
"""The number of all items without a box, of which too little is seen."""
_MOST_ITEMS = 254
DIFFICULT_BELOW = 0.5
"""The share of an item that is seen, below which it is difficult."""
_SEEN_SHARE = 0.3  # of an item's area: people draw no box around less
_SMALLEST_BOX = 3  # pixels of the photo
_SPLINTER = 3  # pixels at twice the photo's resolution
_WIDEST_ITEM = 0.6  # of the photo
_HEADROOM = 0.1  # of the room above a shelf


@dataclass(frozen=True)
class ComposedScene:
    """One photo, and all that is known of it.

    Attributes:
        photo: uint8 [S, S, 3]
        boxes: around the part of each item that is seen; classes are the goods' labels
        items: uint8 [S, S], the number of the box of the item at each pixel, counted from 1; 0: no
            item; `HIDDEN`: an item without a box
        seen: float32 [K], the share of the item that is seen, of each box
    """

    photo: NDArray[np.uint8]
    boxes: Boxes
    items: NDArray[np.uint8]
    seen: NDArray[np.float32]


@dataclass(frozen=True)
class _Row:
    """One shelf: places in pixels of the canvas.

    top: lower edge of the board above; floor: where items stand; rank: 1 in front, smaller behind
    """

    top: float
    floor: float
    rank: float = 1.0


@dataclass
class _Stage:
    """A scene in the making."""

    canvas: Canvas
    items: NDArray[np.uint8]
    shadow: tuple[float, float]
    labels: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    def place(
        self, picture: NDArray[np.uint8], label: int, left: float, bottom: float, shade: float
    ) -> None:
        """Put an item (uint8 [h, w, 4]) on the canvas, with its shadow on what is behind it."""
        if len(self.labels) == _MOST_ITEMS:
            return
        x, y = round(left), round(bottom) - len(picture)
        self._cast_shadow(picture[..., 3], x, y)
        part, rows, columns = _visible(picture, x, y, len(self.canvas))
        if not part.size:
            return
        opacity = part[..., 3:].astype(np.float32) / 255
        under = self.canvas[rows, columns]
        under += (part[..., :3].astype(np.float32) * np.float32(shade / 255) - under) * opacity
        self.labels.append(label)
        self.areas.append(float((picture[..., 3] > 127).sum()))
        self.items[rows, columns][part[..., 3] > 127] = len(self.labels)

    def _cast_shadow(self, opacity: NDArray[np.uint8], x: int, y: int) -> None:
        radius = max(1, opacity.shape[0] // 14)
        padded = np.pad(opacity, radius)
        soft = np.asarray(Image.fromarray(padded).filter(ImageFilter.BoxBlur(radius)))
        shift = round(self.shadow[0] * opacity.shape[0])
        part, rows, columns = _visible(
            soft, x - radius + shift, y - radius + radius // 2, len(self.canvas)
        )
        strength = np.float32(self.shadow[1] / 255)
        self.canvas[rows, columns] *= 1 - part[..., None].astype(np.float32) * strength


def _visible(
    picture: NDArray[np.uint8], x: int, y: int, pixels: int
) -> tuple[NDArray[np.uint8], slice, slice]:
    """Return the part of a picture at (x, y) that is on the canvas, and its rows and columns."""
    height, width = picture.shape[:2]
    rows = slice(max(0, y), max(0, min(pixels, y + height)))
    columns = slice(max(0, x), max(0, min(pixels, x + width)))
    part = picture[
        max(0, -y) : max(0, -y) + max(0, rows.stop - rows.start),
        max(0, -x) : max(0, -x) + max(0, columns.stop - columns.start),
    ]
    return part, rows, columns


def compose(
    goods: Sequence[Good], style: ShelfStyle, side: int, random: np.random.Generator
) -> ComposedScene:
    """Compose a scene.

    Args:
        goods: all that may stand on the shelves
        style: of the shelves
        side: of the photo, pixels
        random: source of all variation
    """
    pixels = canvas_pixels(side)
    pitch = 2 * side / between(random, style.rows)
    stage = _Stage(
        surroundings.wall(style, pixels, pitch, random),
        np.zeros((pixels, pixels), np.uint8),
        (between(random, (-0.1, 0.1)), between(random, (0.2, 0.55))),
    )
    front = surroundings.board_colour(style, random)
    lip = between(random, (0.9, 1.25))
    thickness = style.board * pitch
    for top, floor in _rows(pitch, thickness, style, pixels, random):
        if style.board:
            surroundings.shelf_shadow(stage.canvas, top, 0.5 * pitch)
        if random.random() < style.second_rank:
            _fill_row(stage, goods, style, _Row(top, floor - 0.06 * pitch, 0.88), random)
        starts = _fill_row(stage, goods, style, _Row(top, floor, 1.0), random)
        if style.board:
            surroundings.board(stage.canvas, floor, thickness, front, lip)
        for x in starts:
            if random.random() < style.tags:
                height = max(thickness, 0.06 * pitch) * between(random, (0.7, 1.1))
                surroundings.tag(stage.canvas, x, floor + 0.1 * thickness, height, random)
    _obstruct(stage, random)
    if style.glass:
        surroundings.reflections(stage.canvas, random)
    surroundings.light(stage.canvas, style, random)
    return _photographed(stage, Camera(side, random))


def _rows(
    pitch: float, thickness: float, style: ShelfStyle, pixels: int, random: np.random.Generator
) -> Iterator[tuple[float, float]]:
    """Yield the rows from top to bottom: where each begins and ends."""
    room = pitch * (1 + style.rows_overlap) - thickness
    floor = between(random, (0.0, 1.0)) * pitch
    while floor - room < pixels:
        yield floor - room, floor
        floor += pitch


def _fill_row(
    stage: _Stage,
    goods: Sequence[Good],
    style: ShelfStyle,
    row: _Row,
    random: np.random.Generator,
) -> list[float]:
    """Put goods on one shelf from left to right; return where each design begins."""
    pixels = len(stage.canvas)
    room = (row.floor - row.top) * (1 - _HEADROOM) * row.rank
    x = -between(random, (0.0, 0.5)) * room
    starts: list[float] = []
    gap = between(random, style.gap)
    while x < pixels:
        good = goods[int(random.integers(len(goods)))]
        height = max(2, round(room * min(1.0, good.height) * between(random, (0.9, 1.0))))
        width = max(2, round(height * good.picture.shape[1] / good.picture.shape[0]))
        if width > _WIDEST_ITEM * pixels / (1 + 2 * MARGIN):
            height = max(2, round(height * _WIDEST_ITEM * pixels / width))
            width = round(_WIDEST_ITEM * pixels)
        if random.random() < style.empty:
            x += between(random, (0.6, 1.6)) * width
            continue
        picture = np.asarray(
            Image.fromarray(good.picture).resize((width, height), Image.Resampling.BILINEAR)
        )
        starts.append(x)
        for _ in range(1 + int(random.integers(style.facings))):
            shade = row.rank**3 * between(random, (0.88, 1.06))
            bottom = row.floor - between(random, (-0.01, 0.03)) * room
            if style.hangs:
                bottom = row.top + 0.16 * room + height
                middle = x + width / 2
                surroundings.hook(stage.canvas, middle, row.top + 0.06 * room, bottom - height)
            stage.place(picture, good.label, x, bottom, shade)
            x += width * (1 + gap + between(random, (0.0, 0.06)))
    return starts


def _obstruct(stage: _Stage, random: np.random.Generator) -> None:
    """Put something before the shelves now and then: a pole, an arm, a trolley's edge."""
    if random.random() > 0.2:
        return
    pixels = len(stage.canvas)
    axis = np.arange(pixels, dtype=np.float32) / pixels
    slope = np.float32(between(random, (-0.6, 0.6)))
    distance = np.abs(axis[None, :] - slope * axis[:, None] - np.float32(between(random, (0, 1))))
    width = between(random, (0.015, 0.06))
    until = between(random, (0.2, 1.0))
    before = (distance < width) & (axis[:, None] > 1 - until)
    shade = (1.1 - 0.5 * distance[before] / np.float32(width))[:, None]
    stage.canvas[before] = surroundings.colour(random, (0.1, 0.5), (0.2, 0.9)) * shade
    stage.items[before] = 0


def _photographed(stage: _Stage, camera: Camera) -> ComposedScene:
    """Return the photo, and the boxes of those items of which enough is seen."""
    seen = camera.view(stage.items).copy()
    corners = []
    labels = []
    shares = []
    numbers = np.zeros(_MOST_ITEMS + 2, np.uint8)
    numbers[HIDDEN] = HIDDEN
    counts = np.bincount(seen.ravel(), minlength=_MOST_ITEMS + 2)
    for number, (label, area) in enumerate(zip(stage.labels, stage.areas, strict=True), start=1):
        if not counts[number]:
            continue
        box = _bounds(seen == number)
        is_large = min(box[2] - box[0], box[3] - box[1]) >= _SMALLEST_BOX
        share = counts[number] / (area * camera.enlargement)
        if is_large and share >= _SEEN_SHARE:
            corners.append(box)
            labels.append(label)
            shares.append(share)
            numbers[number] = len(corners)
            inside = _inside(box, 2 * camera.side)
            seen[(seen == number) & ~inside] = HIDDEN
        else:
            numbers[number] = HIDDEN
    return ComposedScene(
        camera.photograph(stage.canvas),
        Boxes.drawn(np.array(corners).reshape(-1, 4), np.array(labels, np.int64)),
        numbers[seen[1::2, 1::2]],
        np.array(shares, np.float32),
    )


def _bounds(seen: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return the edges of what is True at twice the photo's resolution, in pixels of the photo.

    Splinters that are thinner than a pixel of the photo do not count.
    """
    rows = np.flatnonzero(seen.sum(axis=1) >= _SPLINTER)
    columns = np.flatnonzero(seen.sum(axis=0) >= _SPLINTER)
    if not len(rows) or not len(columns):
        return 0, 0, 0, 0
    return columns[0] / 2, rows[0] / 2, (columns[-1] + 1) / 2, (rows[-1] + 1) / 2


def _inside(box: tuple[float, float, float, float], pixels: int) -> NDArray[np.bool_]:
    """Return True in a box at twice the photo's resolution: bool [2S, 2S]."""
    left, top, right, bottom = (round(2 * edge) for edge in box)
    inside = np.zeros((pixels, pixels), np.bool_)
    inside[top:bottom, left:right] = True
    return inside
