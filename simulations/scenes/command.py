"""Composition of a folder of scenes from a folder of product photos."""

import io
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.decoding.content_digests import hash_files, read_photo
from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.decoding.picture import picture
from fedshelf.common.images.folder.photo_folder import separate_unusable
from fedshelf.common.images.folder.scan import Photo, assign_splits, scan
from fedshelf.common.images.listing.split import SPLITS, Split
from fedshelf.common.inference.loading import load_masks
from fedshelf.common.inference.masks.mask_predictor import MaskPredictor, product_pixels
from fedshelf.common.scenes.formats import coco, yolo
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene, Outline
from fedshelf.common.scenes.formats.run_lengths import from_pixels
from fedshelf.common.seeding import rng
from fedshelf.common.system.files import json_text, write_folder
from fedshelf.common.wording import format_count, format_first
from fedshelf.simulations.datasets.scenes.composition import (
    DIFFICULT_BELOW,
    ComposedScene,
    compose,
)
from fedshelf.simulations.datasets.scenes.goods import Good
from fedshelf.simulations.datasets.scenes.styles import SHELF_STYLES
from fedshelf.simulations.scenes.cutouts import cut_along, cut_out

_SHARES: Mapping[Split, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}
# of a class and split: more variety costs memory, not knowledge
_MOST_PRODUCTS = 60
_MOST_TRIED = 400
_TALLEST = 0.9  # of the largest item at twice the scene's resolution
_JPEG_QUALITY = 90


@dataclass
class Products:
    """Products that were cut out of a folder of photos.

    Attributes:
        goods: the products of each split
        tried: photos that were opened
        by_masks: products that a mask network has cut out
        reasons: reason -> number of photos that could not be cut out
    """

    goods: dict[Split, list[Good]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    tried: int = 0
    by_masks: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


def compose_scenes(
    photos: Path,
    out: Path,
    count: int,
    side: int,
    seed: int,
    label_format: str,
    masks: Path | None = None,
) -> str:
    """Compose scenes and write them to a folder: whole, or not at all.

    Args:
        photos: folder of photos of single products, in class folders
        out: the new folder
        count: number of scenes
        side: of a scene, pixels
        seed: of all random choices
        label_format: coco or yolo
        masks: a mask network that cuts out products without a plain margin; None: they are not used

    Returns:
        sentences on what was made, and of what

    Raises:
        ConfigError: the new folder is in use
        DataError: there are no photos, no product can be cut out, or the mask network cannot be
            used
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} exists already; expected a new or empty folder for the scenes.")
    classes, splits = _photos(photos)
    cutter = None if masks is None else load_masks(masks)
    products = _cut_products(classes, splits, side, cutter)
    if not products.goods["train"]:
        found = ", ".join(f"{number} {reason}" for reason, number in products.reasons.items())
        raise DataError(
            f"No product could be cut out of the {products.tried} photos of {photos}: {found};"
            " expected products before a plain background, such as a white sheet, or a mask network"
            " that cuts them out (--masks MODEL)."
        )
    scenes = list(_compose_all(products, count, side, seed))
    files = _files(scenes, classes, label_format)
    if out.exists():
        out.rmdir()
    write_folder(out, files)
    return _told(scenes, classes, products, out, label_format)


def _photos(folder: Path) -> tuple[tuple[str, ...], dict[Split, list[Photo]]]:
    """Return the classes, and the photos of each split in an order that their content decides."""
    scanned = scan(folder)
    digests = hash_files([photo.path for photo in scanned.photos], {}, time.time_ns()).digests
    usable, known, _ = separate_unusable(scanned.photos, digests)
    splits: dict[Split, list[Photo]] = {split: [] for split in SPLITS}
    in_order = sorted(
        zip(known, usable, assign_splits(usable, known), strict=True),
        key=lambda one: (one[0], one[1].name),
    )
    for _digest, photo, split in in_order:
        splits[split].append(photo)
    if not usable:
        raise DataError(f"No photo in {folder}; expected a sub-folder of photos for each class.")
    return tuple(sorted(scanned.labels)), splits


def _cut_products(
    classes: Sequence[str],
    splits: Mapping[Split, Sequence[Photo]],
    side: int,
    cutter: MaskPredictor | None,
) -> Products:
    products = Products()
    for split, photos in splits.items():
        for label, name in enumerate(classes):
            of_class = [photo for photo in photos if photo.label == name][:_MOST_TRIED]
            found = 0
            for cut, is_by_mask in _cut_each(of_class, side, cutter):
                products.tried += 1
                if isinstance(cut, str):
                    products.reasons[cut] += 1
                else:
                    products.by_masks += is_by_mask
                    height = _height_of(name, products.tried)
                    products.goods[split].append(Good(label, cut, height))
                    found += 1
                if found == _MOST_PRODUCTS:
                    break
    return products


def _cut_each(
    photos: Sequence[Photo], side: int, cutter: MaskPredictor | None
) -> Iterator[tuple[NDArray[np.uint8] | str, bool]]:
    # a few at a time, so that few are opened in vain once there are enough
    for start in range(0, len(photos), 16):
        part = photos[start : start + 16]
        yield from map_in_order(lambda photo: _cut(photo, side, cutter), part)


def _cut(
    photo: Photo, side: int, cutter: MaskPredictor | None
) -> tuple[NDArray[np.uint8] | str, bool]:
    """Return a product, or why it could not be cut out; and whether it is the mask network's."""
    try:
        pixels = np.asarray(picture(read_photo(photo.path), round(_TALLEST * side)))
    except NotUsableError:
        return "unreadable", False
    cut = cut_out(pixels)
    if cutter is None or not isinstance(cut, str):
        return cut, False
    by_mask = cut_along(pixels, product_pixels(cutter, Image.fromarray(pixels)))
    return (cut, False) if isinstance(by_mask, str) else (by_mask, True)


def _height_of(name: str, number: int) -> float:
    """Draw the height of a product: alike in a class, as a share of the room on a shelf."""
    of_class = rng(0, "height of a class", name).random()
    return float(0.55 + 0.35 * of_class + 0.1 * rng(0, "height", name, number).random())


def _compose_all(
    products: Products, count: int, side: int, seed: int
) -> Iterator[tuple[Split, ComposedScene]]:
    """Yield scenes of each split that has products."""
    styles = list(SHELF_STYLES.values())
    tasks: list[tuple[Split, int]] = []
    for split in ("test", "validation", "train"):
        goods = products.goods[split]
        share = count - len(tasks) if split == "train" else round(count * _SHARES[split])
        tasks += [(split, number) for number in range(share if goods else 0)]

    def draw(task: tuple[Split, int]) -> tuple[Split, ComposedScene]:
        split, number = task
        random = rng(seed, "scenes", split, number)
        style = styles[int(random.integers(len(styles)))]
        return split, compose(products.goods[split], style, side, random)

    return map_in_order(draw, tasks[::-1])


def _files(
    scenes: Sequence[tuple[Split, ComposedScene]], classes: Sequence[str], label_format: str
) -> dict[str, bytes]:
    """Return the files of a folder: photos in images/SPLIT, and their labels."""
    files: dict[str, bytes] = {}
    of_folder = []
    for number, (split, scene) in enumerate(scenes, start=1):
        name = f"{split}/{number:05}.jpg"
        photo = io.BytesIO()
        Image.fromarray(scene.photo).save(photo, "JPEG", quality=_JPEG_QUALITY)
        files[f"images/{name}"] = photo.getvalue()
        of_folder.append(labelled(name, split, scene))
    if label_format == "coco":
        content = coco.document(of_folder, classes, "Scenes composed from photos of products")
        files["coco.json"] = json_text(content).encode()
    else:
        files |= {
            name: text.encode() for name, text in yolo.label_texts(of_folder, classes).items()
        }
    return files


def labelled(name: str, split: Split, scene: ComposedScene) -> LabelledScene:
    """Return a scene as label files have it: products less than half seen are difficult.

    Args:
        name: of its photo
        split: of its products
        scene: the photo and all that is known of it
    """
    side = len(scene.photo)
    outlines = tuple(
        Outline(bitmap=np.array(from_pixels(scene.items == number), np.int64))
        for number in range(1, len(scene.boxes) + 1)
    )
    difficult = tuple(np.flatnonzero(scene.seen < DIFFICULT_BELOW).tolist())
    return LabelledScene(
        name, Path(name), side, side, scene.boxes, outlines, split=split, difficult=difficult
    )


def _told(
    scenes: Sequence[tuple[Split, ComposedScene]],
    classes: Sequence[str],
    products: Products,
    out: Path,
    label_format: str,
) -> str:
    """Return sentences on what was made, and of what."""
    splits = Counter(split for split, _ in scenes)
    boxes = sum(len(scene.boxes) for _, scene in scenes)
    goods = [good for split in SPLITS for good in products.goods[split]]
    missing = sorted(set(range(len(classes))) - {good.label for good in goods})
    reasons = ", ".join(f"{number} {reason}" for reason, number in products.reasons.most_common())
    text = (
        f"{out}: {format_count(len(scenes), 'scene')}"
        f" ({', '.join(f'{splits[split]} {split}' for split in SPLITS)}) with"
        f" {format_count(boxes, 'product')}{_difficult_words(scenes, label_format)}.\n"
        f"{format_count(len(goods), 'product')} cut out of {products.tried:,} photos"
    )
    if products.by_masks:
        text += f", {products.by_masks} of them by the mask network"
    text += f"; not used: {reasons}." if reasons else "."
    if missing:
        names = format_first([classes[label] for label in missing], 10)
        text += f"\nNo product of {names}."
    return text


def _difficult_words(scenes: Sequence[tuple[Split, ComposedScene]], label_format: str) -> str:
    """Return words on products of which less than half is seen, and on how the files tell them."""
    count = sum(int((scene.seen < DIFFICULT_BELOW).sum()) for _, scene in scenes)
    if not count:
        return ""
    text = f", {count:,} of them less than half seen"
    if label_format == "coco":
        return f"{text} (difficult: neither asked for nor wrong)"
    return f"{text}, which YOLO cannot say: they are asked for as all others (COCO can)"
