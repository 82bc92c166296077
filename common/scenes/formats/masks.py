"""The class of each pixel of a photo: from outlines, or from a picture of classes.

In a picture of one channel (PNG), 0 is no product, a number is a place in the classes, counted from
1, and 255 says nothing, as in Pascal VOC. Without classes every number is a product, and if 255 is
the only one, so is it. A picture in colours needs a `labelmap.txt`, as CVAT writes.
Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf, section 4.2 (values, 255);
https://docs.cvat.ai/docs/dataset_management/formats/format-smask/ (`labelmap.txt`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedshelf.common.images.decoding.content_digests import read_photo
from fedshelf.common.images.decoding.decode import NotUsableError, open_photo
from fedshelf.common.images.decoding.header import stored_size
from fedshelf.common.images.decoding.limits import LOCAL_LIMITS
from fedshelf.common.scenes.formats.label_map import BACKGROUND, LABEL_MAP, read_label_map
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene, Outline
from fedshelf.common.scenes.formats.placing import convention
from fedshelf.common.scenes.formats.run_lengths import to_pixels
from fedshelf.common.scenes.formats.turning import turn_pixels

NOTHING_SAID = 255
"""The value of pixels of which a mask does not say whether a product is there."""

MAX_MASK_CLASSES = NOTHING_SAID - 2
"""Most classes that a mask can tell apart, beside products without a class."""


def mask_of(scene: LabelledScene, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
    """Return a photo's mask, squeezed to a square as the photo is: uint8 [S, S].

    A pixel is 0 where there is no product, else the class + 1 (of a product without a class, the
    number of classes + 1), or `NOTHING_SAID`. The smaller of two outlines that overlap is in front.

    Args:
        scene: with outlines for all boxes, or a picture
        classes: names of the classes
        side: pixels

    Raises:
        NotUsableError: its picture cannot be read or has other classes
    """
    assert scene.has_mask, scene
    if scene.mask is not None:
        return _from_picture(scene, scene.mask, classes, side)
    mask = np.zeros((side, side), np.uint8)
    for place in np.argsort(-scene.boxes.areas, kind="stable").tolist():
        outline = scene.outlines[place]
        assert outline is not None
        inside = outline_pixels(outline, scene.width, scene.height, side)
        label = int(scene.boxes.classes[place])
        mask[inside] = 1 + min(label if label >= 0 else len(classes), MAX_MASK_CLASSES)
    return mask


def outline_pixels(outline: Outline, width: int, height: int, side: int) -> NDArray[np.bool_]:
    """Return the pixels of one product on the squeezed photo, bool [S, S].

    Args:
        outline: on the upright photo
        width: of the upright photo, pixels
        height: of the upright photo, pixels
        side: of the square, pixels
    """
    if outline.bitmap is not None:
        stored = (height, width) if outline.orientation >= 5 else (width, height)
        pixels = turn_pixels(to_pixels(outline.bitmap, *stored), outline.orientation)
        return _squeezed(np.ascontiguousarray(pixels).view(np.uint8), side) > 0
    scale = np.array([side / width, side / height])
    inside = np.zeros((side, side), np.bool_)
    for points in outline.polygons:
        inside |= polygon_pixels(points * scale, side)
    return inside


def polygon_pixels(points: NDArray[np.float64], side: int) -> NDArray[np.bool_]:
    """Return the pixels whose middle is in a polygon (even-odd rule): bool [S, S].

    Args:
        points: [n, 2], x and y of its corners in pixels
        side: of the square, pixels
    """
    start, end = points, np.roll(points, -1, axis=0)
    middles = np.arange(side)[:, None] + 0.5
    # an edge crosses the line through a row's middles if its ends lie on two sides of it
    rows, edges = np.nonzero((start[:, 1] <= middles) != (end[:, 1] <= middles))
    (x, y), (to_x, to_y) = start[edges].T, end[edges].T
    crossings = x + (rows + 0.5 - y) * (to_x - x) / (to_y - y)
    changes = np.zeros((side, side + 1), np.int64)
    np.add.at(changes, (rows, np.ceil(crossings - 0.5).clip(0, side).astype(np.int64)), 1)
    inside: NDArray[np.bool_] = changes.cumsum(axis=1)[:, :side] % 2 == 1
    return inside


def _squeezed(values: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.NEAREST))


def _from_picture(
    scene: LabelledScene, path: Path, classes: Sequence[str], side: int
) -> NDArray[np.uint8]:
    try:
        size = stored_size(path)
    except NotUsableError as error:
        raise NotUsableError(f"a mask that cannot be read: {error}") from error
    photo = stored_size(scene.path)
    of = convention((size.width, size.height), photo)
    if of in ("neither", "either") or size.orientation > 1:
        raise NotUsableError(f"a mask of {size.width} x {size.height} pixels, another size or turn")
    values = _picture_classes(path, classes)
    if of == "stored":
        values = turn_pixels(values, photo.orientation)
    return _squeezed(np.ascontiguousarray(values), side)


def _picture_classes(path: Path, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the values of a mask as it is stored: uint8 [height, width]. Raises NotUsableError."""
    try:
        with open_photo(read_photo(path)) as image:
            if LOCAL_LIMITS.rejection_reason(image.width, image.height, is_costly=False):
                raise NotUsableError("a mask that is too large")
            if image.mode in ("P", "L", "1"):
                values = np.array(image).astype(np.uint8)
            else:
                return _by_colour(np.array(image.convert("RGB")), path, classes)
    except NotUsableError:
        raise
    except Exception as error:  # Pillow raises nearly everything on broken files
        raise NotUsableError("a broken mask") from error
    used = set(np.unique(values).tolist()) - {0}
    if not classes:
        product = (values > 0) & ((values < NOTHING_SAID) | (used == {NOTHING_SAID}))
        return np.where(product, 1, values * (values == NOTHING_SAID)).astype(np.uint8)
    if wrong := sorted(value for value in used if len(classes) < value < NOTHING_SAID):
        raise NotUsableError(f"a mask with class {wrong[0]} of {len(classes)}")
    if used == {NOTHING_SAID}:
        raise NotUsableError("a mask of 255 alone, which is no class")
    return _in_order_of_boxes(values, path, classes)


def _in_order_of_boxes(
    values: NDArray[np.uint8], path: Path, classes: Sequence[str]
) -> NDArray[np.uint8]:
    """Return the values of a mask of numbers, which count the classes of the label map if it has
    one; boxes may have the same classes in another order. Raises NotUsableError.
    """
    listing = _label_map_of(path)
    if listing is None:
        return values
    table = np.arange(NOTHING_SAID + 1, dtype=np.uint8)
    names = [name for name in read_label_map(listing) if name != BACKGROUND]
    for value in np.setdiff1d(values, [0, NOTHING_SAID]).tolist():
        if value > len(names) or names[value - 1] not in classes:
            raise NotUsableError(
                f"a mask with class {value}, which {LABEL_MAP} does not have, or no box"
            )
        table[value] = classes.index(names[value - 1]) + 1
    return table[values]


def _label_map_of(path: Path) -> Path | None:
    """Return the label map beside a mask, or beside its folder; None: there is none."""
    places = [folder / LABEL_MAP for folder in (path.parent, path.parent.parent)]
    return next((place for place in places if place.is_file()), None)


def _by_colour(colours: NDArray[np.uint8], path: Path, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return the values of a mask in colours. Raises NotUsableError."""
    listing = _label_map_of(path)
    if listing is None:
        raise NotUsableError(f"a mask in colours without {LABEL_MAP}")
    values = np.full(colours.shape[:2], -1, np.int64)
    for name, colour in read_label_map(listing).items():
        is_here = (colours == np.array(colour)).all(axis=2)
        if name == BACKGROUND:
            values[is_here] = 0
        elif name in classes:
            values[is_here] = classes.index(name) + 1
        elif not classes:
            values[is_here] = 1
        elif is_here.any():
            raise NotUsableError(f"a mask with class {name[:40]!r}, which no box has")
    if (values < 0).any():
        raise NotUsableError(f"a mask with colours that {LABEL_MAP} does not have")
    return values.astype(np.uint8)
