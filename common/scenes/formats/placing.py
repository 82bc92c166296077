"""Boxes of files laid on their photos: turned upright, cut at the edges, odd ones counted.

Labelling tools show a photo upright, as EXIF says, so coordinates are those of the upright photo.
Some tools ignore EXIF. Their files give the size of the photo as it is stored, and their boxes are
turned with it. A photo that EXIF turns without changing its size, upside down for example, does
not tell which of the two its tool did: it is as the other photos of the same files are, and if
there are none, it is not used. YOLO's shares have no size and are those of the upright photo, as
all that trains on them takes them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.decoding.content_digests import rejection_reason
from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.header import StoredSize, stored_size
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.scenes.boxes import Boxes, overlaps
from fedshelf.common.scenes.centre_map import MAX_BOXES
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene, Outline, SceneLabels
from fedshelf.common.scenes.formats.raw_labels import PhotoFile, RawBox, RawScene
from fedshelf.common.scenes.formats.run_lengths import to_pixels
from fedshelf.common.scenes.formats.turning import turn_corners, turn_points

Convention = Literal["upright", "stored", "either", "neither"]
"""The photo that labels are of; `either`: its size does not tell."""

CUT = "cut at the photo's edge"
OUTSIDE = "mostly outside the photo"
NO_AREA = "without an area"
TWICE = "drawn twice"
TWO_CLASSES = "of two classes, taken as without one"
CROWD = "around a crowd, not one product"

_ROUNDING = 1.0  # pixels by which tools leave the photo: not worth a word
_INSIDE_SHARE = 0.5  # of a box's area: less is no box of this photo
_SMALLEST_SIDE = 1.0  # pixels
_SAME_BOX = 0.98  # intersection over union of two boxes that are one
_SIZE_ROUNDING = 1.0  # pixels by which a recorded size may differ


def place(
    format_name: str,
    raw_scenes: Sequence[RawScene],
    classes: tuple[str, ...],
    left_out: Sequence[tuple[str, str]],
    odd_boxes: Counter[str],
) -> SceneLabels:
    """Return the labels of all photos that can be used.

    Args:
        format_name: of their files
        raw_scenes: as the files have them
        classes: names of the boxes' classes
        left_out: (name, reason) of files that are left out already
        odd_boxes: reason -> number of boxes that are left out already; gets more
    """
    for raw in raw_scenes:
        if not raw.reason and len(raw.boxes) > MAX_BOXES:
            raw.reason = f"has {len(raw.boxes):,} boxes; a model finds at most {MAX_BOXES:,}"
    unused = [*left_out, *((raw.photo.name, raw.reason) for raw in raw_scenes if raw.reason)]
    usable = [raw for raw in raw_scenes if not raw.reason]
    sizes = list(map_in_order(_read_size, [raw.photo for raw in usable]))
    conventions = [
        convention(raw.size, size) if isinstance(size, StoredSize) else "neither"
        for raw, size in zip(usable, sizes, strict=True)
    ]
    told = set(conventions) & {"upright", "stored"}
    scenes = []
    for raw, size, of in zip(usable, sizes, conventions, strict=True):
        if isinstance(size, NotUsableError):
            unused.append((raw.photo.name, str(size)))
        elif of == "neither":
            unused.append((raw.photo.name, _other_size(raw, size)))
        elif of == "either" and len(told) != 1:
            unused.append((raw.photo.name, f"turned by EXIF ({size.orientation}): save it upright"))
        else:
            chosen = next(iter(told)) if of == "either" else of
            turn = size.orientation if chosen == "stored" else 1
            scene = _scene(raw, size, turn, odd_boxes)
            if isinstance(scene, str):
                unused.append((raw.photo.name, scene))
            else:
                scenes.append(scene)
    scenes.sort(key=lambda scene: scene.name)
    odd = {reason: odd_boxes[reason] for reason in sorted(odd_boxes)}
    return SceneLabels(format_name, tuple(scenes), classes, tuple(sorted(unused)), odd)


def convention(size: tuple[float, float] | None, photo: StoredSize) -> Convention:
    """Return which photo a label file speaks of.

    Args:
        size: width and height that it gives, None: it gives none
        photo: the photo's size
    """
    if size is None or (photo.orientation == 1 and _is_same(size, photo.upright)):
        return "upright"
    is_upright = _is_same(size, photo.upright)
    is_stored = _is_same(size, (photo.width, photo.height))
    if is_upright and is_stored:
        return "either"
    if is_upright:
        return "upright"
    return "stored" if is_stored else "neither"


def _is_same(size: tuple[float, float], other: tuple[int, int]) -> bool:
    return all(abs(a - b) <= _SIZE_ROUNDING for a, b in zip(size, other, strict=True))


def _read_size(photo: PhotoFile) -> StoredSize | NotUsableError:
    if reason := rejection_reason(photo.path):
        return NotUsableError(reason)
    try:
        return stored_size(photo.path)
    except NotUsableError as error:
        return error


def _other_size(raw: RawScene, size: StoredSize) -> str:
    assert raw.size is not None
    width, height = raw.size
    return (
        f"is of {size.upright[0]} x {size.upright[1]} pixels, its labels of a photo of"
        f" {width:g} x {height:g}"
    )


def _scene(
    raw: RawScene, size: StoredSize, orientation: int, odd: Counter[str]
) -> LabelledScene | str:
    """Return the labels laid on the upright photo, or why they cannot be."""
    width, height = size.upright
    # the picture in which the coordinates are
    frame = (size.width, size.height) if orientation > 1 else (width, height)
    scale = np.array(frame if raw.size is None else (1, 1), np.float64)
    try:
        outlines = [_outline(box, scale, frame, orientation) for box in raw.boxes]
        stored = [
            _corners(box, scale, outline, frame)
            for box, outline in zip(raw.boxes, outlines, strict=True)
        ]
    except ValueError as error:
        return str(error)
    edges = np.array(stored, np.float64).reshape(-1, 4)
    corners = turn_corners(edges, orientation, *frame)
    # turned, a box of negative size would look like any other
    corners[(edges[:, 2:] <= edges[:, :2]).any(axis=1)] = 0
    labels = np.array([box.label for box in raw.boxes], np.int64)
    kept, boxes = clean(Boxes.drawn(corners, labels), width, height, odd)
    has_outlines = any(outline is not None for outline in outlines)
    return LabelledScene(
        raw.photo.name,
        raw.photo.path,
        width,
        height,
        boxes,
        tuple(outlines[place] for place in kept) if has_outlines else (),
        split=raw.photo.split,
        difficult=tuple(new for new, old in enumerate(kept) if raw.boxes[old].is_difficult),
    )


def _outline(
    box: RawBox, scale: NDArray[np.float64], frame: tuple[int, int], orientation: int
) -> Outline | None:
    """Return the outline of a box on the upright photo. Raises ValueError."""
    if box.bitmap is not None:
        is_whole = sum(box.bitmap.tolist()) == frame[0] * frame[1]
        if not is_whole or box.bitmap.min() < 0 or not _is_same(box.bitmap_size, frame):
            raise ValueError("run lengths of another size than the photo's")
        return Outline(bitmap=box.bitmap, orientation=orientation)
    polygons = []
    for points in box.polygons:
        turned = turn_points((points * scale).astype(np.float32), orientation, *frame)
        if (np.abs(turned) > 3 * max(frame)).any():
            raise ValueError("a polygon far outside the photo")
        polygons.append(turned)
    return Outline(tuple(polygons)) if polygons else None


def _corners(
    box: RawBox, scale: NDArray[np.float64], outline: Outline | None, frame: tuple[int, int]
) -> NDArray[np.float64]:
    """Return a box's corners in pixels of the picture in which its coordinates are."""
    if box.corners is not None:
        return np.array(box.corners) * np.tile(scale, 2)
    if box.polygons:
        points = np.concatenate(box.polygons) * scale
        return np.concatenate([points.min(axis=0), points.max(axis=0)])
    assert outline is not None
    assert outline.bitmap is not None
    pixels = to_pixels(outline.bitmap, *frame)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return np.zeros(4)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def clean(boxes: Boxes, width: int, height: int, odd: Counter[str]) -> tuple[list[int], Boxes]:
    """Return the places of the boxes that are kept, and these boxes, cut at the photo's edges.

    Args:
        boxes: of the upright photo
        width: of the photo, pixels
        height: of the photo, pixels
        odd: gets the number of boxes that are changed or left out, for each reason
    """
    limits = np.array([width, height, width, height], np.float32)
    inside = replace(boxes, corners=boxes.corners.clip(0, limits))
    sides = boxes.corners[:, 2:] - boxes.corners[:, :2]
    kept: list[int] = []
    for place in range(len(boxes)):
        inner = inside.corners[place, 2:] - inside.corners[place, :2]
        if sides[place].min() <= 0:
            odd[NO_AREA] += 1
        elif inner.prod() < _INSIDE_SHARE * sides[place].prod():
            odd[OUTSIDE] += 1
        elif inner.min() < _SMALLEST_SIDE:
            odd[NO_AREA] += 1
        else:
            if np.abs(boxes.corners[place] - inside.corners[place]).max() > _ROUNDING:
                odd[CUT] += 1
            kept.append(place)
    return _without_copies(kept, inside.select(np.array(kept, np.int64)), odd)


def _without_copies(places: list[int], boxes: Boxes, odd: Counter[str]) -> tuple[list[int], Boxes]:
    """Return boxes without those that are the same as an earlier one."""
    same = np.triu(overlaps(boxes, boxes) >= _SAME_BOX, 1)
    classes = boxes.classes.copy()
    first: list[int] = []
    for place in range(len(boxes)):
        earlier = next((kept for kept in first if same[kept, place]), None)
        if earlier is None:
            first.append(place)
        elif classes[earlier] == classes[place]:
            odd[TWICE] += 1
        else:
            odd[TWO_CLASSES] += 1
            classes[earlier] = -1
    chosen = replace(boxes, classes=classes).select(np.array(first, np.int64))
    return [places[place] for place in first], chosen
