"""Photos with the boxes that people drew, whatever file they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.listing.split import Split
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.wording import format_count

UNNAMED = "product"
"""The name of a product without a class, in files that need a name for everything."""


MASKS_ALONE = "masks alone"
"""The format of files that have a picture of classes for each photo, and no boxes."""


@dataclass(frozen=True)
class Outline:
    """The pixels of one product, in one of two forms.

    Attributes:
        polygons: float32 [n, 2] each, x and y in pixels of the upright photo; all together
        bitmap: run lengths of COCO, int64 [R], from the first column of the photo downwards,
            beginning with pixels outside; None: the outline has polygons
        orientation: how the photo of the bitmap is turned upright (EXIF), 1: it is upright
    """

    polygons: tuple[NDArray[np.float32], ...] = ()
    bitmap: NDArray[np.int64] | None = None
    orientation: int = 1


@dataclass(frozen=True)
class LabelledScene:
    """One photo with its products.

    Attributes:
        name: path relative to the folder of photos, with slashes
        path: the photo
        width: of the upright photo, pixels
        height: of the upright photo, pixels
        boxes: in pixels of the upright photo
        outlines: one for each box, or none for all; None: this product has a box alone
        mask: a picture with the class of each pixel, as a file of its own
        split: that the names of folders say, or None
        difficult: places of the boxes whose products are hardly seen, in order: finding one is
            neither asked for nor wrong (`common.scenes.difficult`)
    """

    name: str
    path: Path
    width: int
    height: int
    boxes: Boxes
    outlines: tuple[Outline | None, ...] = ()
    mask: Path | None = None
    split: Split | None = None
    difficult: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.outlines) in (0, len(self.boxes)), (self.outlines, self.boxes)
        assert set(self.difficult) <= set(range(len(self.boxes))), (self.difficult, self.boxes)

    @property
    def has_mask(self) -> bool:
        """True if the pixels of all products are known."""
        return self.mask is not None or (
            None not in self.outlines[: len(self.boxes)] and (len(self.outlines) == len(self.boxes))
        )


@dataclass(frozen=True)
class SceneLabels:
    """All that a person's files say of some photos.

    Attributes:
        format: of the files: yolo, coco, voc or `MASKS_ALONE`
        scenes: photos that can be used, sorted by name
        classes: the names of the boxes' classes; (): the files have no names
        left_out: (name, reason) of photos and label files that are not used, sorted
        odd_boxes: reason -> number of boxes that were changed or left out for it
    """

    format: str
    scenes: tuple[LabelledScene, ...]
    classes: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    odd_boxes: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_boxes(self) -> bool:
        """False if the files say nothing of boxes."""
        return self.format != MASKS_ALONE

    def summary(self) -> str:
        """Return a sentence or two for a person, without the files that are left out."""
        if not self.has_boxes:
            names = format_count(len(self.classes), "class", "classes") if self.classes else ""
            text = f"{format_count(len(self.scenes), 'photo')} with masks and no boxes"
            return f"{text}{names and f', of {names}'}."
        boxes = sum(len(scene.boxes) for scene in self.scenes)
        empty = sum(not len(scene.boxes) for scene in self.scenes)
        text = (
            f"{format_count(len(self.scenes), 'photo')} with"
            f" {format_count(boxes, 'box', 'boxes')} ({self.format})"
        )
        if self.classes:
            text += f" of {format_count(len(self.classes), 'class', 'classes')}"
        if difficult := sum(len(scene.difficult) for scene in self.scenes):
            text += f"; {format_count(difficult, 'box', 'boxes')} difficult, which count nowhere"
        if empty:
            text += f"; {empty} without any product"
        if self.odd_boxes:
            counted = ", ".join(f"{count} {reason}" for reason, count in self.odd_boxes.items())
            text += f"; odd boxes: {counted}"
        return text + "."
