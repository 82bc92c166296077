"""Data sets that come as plain arrays of pixels, not as encoded images."""

from collections.abc import Callable, Iterator, Mapping

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.simulations.datasets.dataset.assemble import assemble
from fedshelf.simulations.datasets.dataset.cache import CachedPart, Chunk, decoded
from fedshelf.simulations.datasets.dataset.conversion import convert
from fedshelf.simulations.datasets.dataset.types import Dataset

IMAGES_PER_TASK = 256

Arrays = Mapping[str, Chunk]
"""Split -> pixels (uint8 [N, height, width, channels]) and labels (int64 [N])."""


def load(
    name: str, classes: tuple[str, ...], key: str, read: Callable[[], Arrays], form: PixelFormat
) -> Dataset:
    """Return a data set of arrays in one pixel format, decoded once and then kept in the cache.

    Args:
        name: the name of the data set
        classes: the names of its classes, in the order of their labels
        key: the hash of its files, under which the cache keeps it
        read: reads the arrays of all splits
        form: the pixel format wanted

    Raises:
        DataError: there is no image to train on, or the cache cannot be written.
    """

    def parts() -> dict[str, CachedPart]:
        return {
            split: CachedPart(len(chunk[1]), _chunks(chunk, form))
            for split, chunk in read().items()
        }

    return assemble(name, classes, decoded(key, form, parts))


def _chunks(arrays: Chunk, form: PixelFormat) -> Iterator[Chunk]:
    pixels, labels = arrays
    pieces = (
        slice(start, start + IMAGES_PER_TASK) for start in range(0, len(labels), IMAGES_PER_TASK)
    )
    return map_in_order(lambda piece: (convert(pixels[piece], form), labels[piece]), pieces)
