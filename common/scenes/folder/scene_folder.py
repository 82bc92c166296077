"""A person's scenes, opened: labels read, photos decoded, split, and summarized in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.cache import Progress, open_pixels
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.folder.left_out import format_left_out
from fedshelf.common.images.folder.photo_folder import separate_unusable
from fedshelf.common.images.folder.scan import Photo, assign_splits
from fedshelf.common.images.listing.split import SPLITS, Split, SplitRule
from fedshelf.common.images.types import Images
from fedshelf.common.scenes.difficult import DIFFICULT
from fedshelf.common.scenes.folder.run_classes import CLASS, in_run_classes
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene
from fedshelf.common.scenes.formats.masks import mask_of
from fedshelf.common.scenes.formats.read import EXPECTED, read_scenes

BOX_NUMBERS = 5
"""Left, top, right and bottom edge, and the class, of a box among annotations."""


@dataclass(frozen=True)
class SceneFolder:
    """Scenes ready for training; N photos in the order of their names.

    Attributes:
        classes: names of the boxes' classes, () if the files have none
        pixels: uint8 [N, S, S, C], memory-mapped: photos, upright and squeezed to squares
        boxes: float32 [N, K, 5], edges in pixels of `pixels`, and the place in `classes`, -1 for a
            product without a class, `DIFFICULT` for one that is hardly seen; rows without an area
            are padding
        has_boxes: False if the files say nothing of boxes; then `boxes` has none
        masks: uint8 [N, S, S], see `mask_of`; None unless all photos have one
        split_of: the split of each photo
        left_out: (name, reason) of photos and files that are not used, sorted
        summary: sentences for a person
    """

    classes: tuple[str, ...]
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    has_boxes: bool
    masks: NDArray[np.uint8] | None
    split_of: tuple[Split, ...]
    left_out: tuple[tuple[str, str], ...]
    summary: str

    def rows(self, split: Split) -> NDArray[np.int64]:
        """Return the places of a split's photos: int64 [n]."""
        return np.flatnonzero(np.array(self.split_of) == split)

    def annotations(self) -> dict[str, Tensor]:
        """Return the annotations of all photos by `train.objective`, with the folder's classes."""
        found = {"boxes": torch.from_numpy(self.boxes)} if self.has_boxes else {}
        if self.masks is not None:
            found["masks"] = torch.from_numpy(self.masks)
        return found

    def images(
        self, objective: str, products: Sequence[str] = (), *, merge: bool = False
    ) -> dict[Split, Images]:
        """Return the photos of each split with the annotations that an objective is about.

        Args:
            objective: boxes or masks
            products: see `in_run_classes`
            merge: see `in_run_classes`

        Raises:
            DataError: there are none.
            UnknownClassError: a product is of no class of the run.
        """
        annotations = self.annotations()
        if objective not in annotations:
            if objective == "boxes":
                raise DataError(
                    "Setting train.objective got boxes, and boxes are missing:"
                    f" {self.summary.removesuffix('.')}; expected {EXPECTED}."
                )
            raise DataError(
                f"Setting train.objective got {objective}, and the photos are scenes with"
                f" {' and '.join(annotations)}: {self.summary}"
            )
        labels = in_run_classes(annotations[objective], self.classes, products, merge=merge)
        return {
            split: replace(images, annotations=labels) for split, images in self.photos().items()
        }

    def photos(self) -> dict[Split, Images]:
        """Return the photos of each split, without annotations."""
        labels = torch.zeros(len(self.pixels), dtype=torch.int64)
        whole = Images.whole(torch.from_numpy(self.pixels), labels)
        return {split: whole.select(torch.from_numpy(self.rows(split))) for split in SPLITS}


def open_scene_folder(
    path: Path, form: PixelFormat, rule: SplitRule = "class", progress: Progress | None = None
) -> SceneFolder:
    """Open a folder of scenes, or a COCO file: see `read_scenes` for the formats.

    The splits are the folder's own; without them 80:10:10 by content, as of class folders. Photos
    are decoded once, into the cache of `common.images.cache`.

    Args:
        path: the folder, or the COCO file
        form: of the pixels
        rule: how photos are held out, see `common.images.listing.split`
        progress: gets (done, total) while photos are decoded

    Raises:
        DataError: no photo is usable, the labels cannot be understood, or the cache not be written
        UnreachableError: photos that were there may be on a disk that is away
    """
    labels = read_scenes(path)
    photos = [Photo(scene.name, scene.path, "", scene.split) for scene in labels.scenes]
    decoded = open_pixels(path, [photo.path for photo in photos], form, progress)
    usable, digests, unusable = separate_unusable(photos, decoded.digests)
    left_out = tuple(sorted([*labels.left_out, *unusable]))
    if not usable:
        found = format_left_out(left_out) if left_out else "nothing"
        raise DataError(
            f"No usable photo in {path}: expected photos with {labels.format} labels; found"
            f" {found}."
        )
    names = {photo.name for photo in usable}
    scenes = [scene for scene in labels.scenes if scene.name in names]
    split_of = assign_splits(usable, digests, rule)
    masks, words = _masks(scenes, labels.classes, form.image_size)
    if not labels.has_boxes:
        if masks is None:
            raise DataError(f"The scenes in {path} have no boxes{words}.")
        words = ""  # the labels have said so
    text = replace(labels, scenes=tuple(scenes)).summary().removesuffix(".")
    text += f" ({', '.join(f'{split_of.count(split)} {split}' for split in SPLITS)}){words}"
    if left_out:
        text += f"; left out {format_left_out(left_out)}"
    return SceneFolder(
        labels.classes,
        decoded.pixels,
        padded_boxes(scenes, form.image_size),
        labels.has_boxes,
        masks,
        tuple(split_of),
        left_out,
        f"{text}.",
    )


def padded_boxes(scenes: Sequence[LabelledScene], side: int) -> NDArray[np.float32]:
    """Return the boxes of N scenes on photos that are squeezed to squares: float32 [N, K, 5].

    Args:
        scenes: with boxes on the upright photos
        side: of the squares, pixels
    """
    most = max((len(scene.boxes) for scene in scenes), default=0)
    boxes = np.zeros((len(scenes), most, BOX_NUMBERS), np.float32)
    for row, scene in zip(boxes, scenes, strict=True):
        scale = np.array([side / scene.width, side / scene.height] * 2, np.float32)
        row[: len(scene.boxes), :CLASS] = scene.boxes.corners * scale
        row[: len(scene.boxes), CLASS] = scene.boxes.classes
        row[list(scene.difficult), CLASS] = DIFFICULT
    return boxes


def _masks(
    scenes: Sequence[LabelledScene], classes: Sequence[str], side: int
) -> tuple[NDArray[np.uint8] | None, str]:
    """Return the masks [N, S, S] if all scenes have one, and words on those that have none."""
    with_mask = [scene for scene in scenes if scene.has_mask]
    # a photo without products needs no outline, but alone it is no sign of masks
    if not any(scene.mask or len(scene.outlines) for scene in with_mask):
        return None, ""
    missing = len(scenes) - len(with_mask)
    if missing:
        return None, f"; masks are not used: {missing} of {len(scenes)} photos have none"

    def read(scene: LabelledScene) -> NDArray[np.uint8] | str:
        try:
            return mask_of(scene, classes, side)
        except NotUsableError as error:
            return f"{scene.name} has {error}"

    masks = []
    for read_mask in map_in_order(read, scenes):
        if isinstance(read_mask, str):
            return None, f"; masks are not used: {read_mask}"
        masks.append(read_mask)
    return np.stack(masks), "; with masks"
