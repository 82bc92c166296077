"""The data set `shelf-scenes`: photos of shelves with many products, drawn by the program itself.

800 scenes for training and 200 for testing, with the boxes and masks of their products; nothing is
downloaded. The products of the test scenes have other designs. A scene's label is its style of
shelf, so that a partition by label gives the stores different shelves.

A product of which less than half is seen is difficult: finding it is neither asked for nor wrong.
That is what benchmarks of KITTI (Geiger et al. 2012: truncated by more than 50%) and of pedestrians
(Zhang et al. 2017, "CityPersons": less than 65% visible) leave out, too.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.difficult import DIFFICULT
from fedshelf.simulations.datasets import drawing, products
from fedshelf.simulations.datasets.dataset.assemble import assemble
from fedshelf.simulations.datasets.dataset.cache import CachedPart, annotations, decoded, key_of
from fedshelf.simulations.datasets.dataset.types import Dataset, DatasetSource
from fedshelf.simulations.datasets.scenes import SHELF_STYLES, draw_scenes
from fedshelf.simulations.datasets.scenes.composition import DIFFICULT_BELOW

STYLES = tuple(SHELF_STYLES)
NATIVE_SIZE = 160  # pixels
PER_STYLE = {"train": 160, "test": 40}
SEEDS = {"train": 0, "test": 1}


def source(name: str) -> DatasetSource:
    """Return the embedded data set."""
    return DatasetSource(name, NATIVE_SIZE, 3, partial(_load, name), are_scenes=True)


def _load(name: str, form: PixelFormat) -> Dataset:
    if form.channels != 3 or form.denoise:
        raise DataError(f"Data set {name} is drawn in colour; leave data.denoise out.")
    files = [Path(drawing.__file__), Path(products.__file__)]
    key = key_of([*files, *sorted(Path(__file__).parent.glob("*.py"))])
    splits = decoded(key, form, lambda: {split: _part(split, form) for split in PER_STYLE})
    boxes, masks = (annotations(key, form, kind) for kind in ("boxes", "masks"))
    dataset = assemble(name, STYLES, splits)
    found = {"boxes": boxes, "masks": masks}
    return replace(dataset, annotations=found, products=tuple(products.PRODUCTS))


def padded(boxes: list[Boxes], seen: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the boxes of N scenes as annotations, float32 [N, K, 5] (`common.images.types`).

    Args:
        boxes: of each scene
        seen: of each scene, float32 [K], the share that is seen of each product
    """
    rows = np.zeros((len(boxes), max(map(len, boxes), default=0), 5), np.float32)
    for row, of_scene, shares in zip(rows, boxes, seen, strict=True):
        row[: len(of_scene), :4] = of_scene.corners
        row[: len(of_scene), 4] = np.where(shares < DIFFICULT_BELOW, DIFFICULT, of_scene.classes)
    return rows


def _part(split: str, form: PixelFormat) -> CachedPart:
    drawn = [
        draw_scenes(PER_STYLE[split], form.image_size, SEEDS[split], style=style)
        for style in STYLES
    ]
    labels = np.repeat(np.arange(len(STYLES)), PER_STYLE[split])
    of_scenes = {
        "boxes": padded(
            [boxes for of_style in drawn for boxes in of_style.boxes],
            [shares for of_style in drawn for shares in of_style.seen],
        ),
        "masks": np.concatenate([of_style.masks for of_style in drawn]),
    }
    chunks = [(np.concatenate([of_style.photos for of_style in drawn]), labels)]
    return CachedPart(len(labels), chunks, of_scenes)
