"""The data set `shelf`: ten kinds of products on shelves, drawn by the program itself.

The pictures are part of Fedshelf, so nothing is downloaded: 4,000 for training and 1,000 for
testing, the same on every machine. They are drawn at the size that the model wants, 32x32 by
default.
"""

from functools import partial
from pathlib import Path

import numpy as np

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.seeding import rng
from fedshelf.simulations.datasets import drawing, products
from fedshelf.simulations.datasets.dataset.assemble import assemble
from fedshelf.simulations.datasets.dataset.cache import CachedPart, Chunk, decoded, key_of
from fedshelf.simulations.datasets.dataset.conversion import convert
from fedshelf.simulations.datasets.dataset.types import Dataset, DatasetSource

CLASSES = tuple(products.PRODUCTS)
NATIVE_SIZE = 32
PER_CLASS = {"train": 400, "test": 100}
# pictures drawn at once: few enough for their planes to stay in a processor's cache
IMAGES_PER_TASK = 50


def source(name: str) -> DatasetSource:
    """Return the embedded data set."""
    return DatasetSource(name, NATIVE_SIZE, 3, partial(_load, name))


def _load(name: str, form: PixelFormat) -> Dataset:
    # The pictures depend on these files alone; the files' content is the data set's key.
    key = key_of(Path(path) for path in (__file__, drawing.__file__, products.__file__))
    return assemble(
        name,
        CLASSES,
        decoded(key, form, lambda: {split: _part(split, form) for split in PER_CLASS}),
    )


def _part(split: str, form: PixelFormat) -> CachedPart:
    chunks = range(PER_CLASS[split] // IMAGES_PER_TASK)
    tasks = [(split, label, chunk, form) for label in range(len(CLASSES)) for chunk in chunks]
    return CachedPart(IMAGES_PER_TASK * len(tasks), map_in_order(_draw, tasks))


def _draw(task: tuple[str, int, int, PixelFormat]) -> Chunk:
    split, label, chunk, form = task
    pixels = drawing.draw(
        CLASSES[label], IMAGES_PER_TASK, form.image_size, rng(0, "shelf", split, label, chunk)
    )
    return convert(pixels, form), np.full(IMAGES_PER_TASK, label)
