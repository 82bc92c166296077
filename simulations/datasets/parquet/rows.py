"""The images of parquet files: their formats, from the headers, and their pixels."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.content_digests import read_photo
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode, open_photo
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.simulations.datasets.dataset.cache import CachedPart, Chunk
from fedshelf.simulations.datasets.parquet.labels import FileLabels
from fedshelf.simulations.datasets.parquet.reading import batches, rows_of

IMAGES_PER_TASK = 256  # images decoded as one task of a thread
_GREY = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"}

Labelled = Sequence[tuple[Path, FileLabels]]
"""Parquet files, and how to read the labels of each."""

Cell = bytes | Path
"""An image as a file holds it: encoded, or where another file has it."""


class Shapes(NamedTuple):
    """The formats of a data set's images.

    Attributes:
        native_size: pixels, side of the images if all are squares of one size, or None
        channels: 1 if all images are grey, else 3
        has_paths: whether some are in files of their own, of which the parquet files hold the paths
            only
    """

    native_size: int | None
    channels: int
    has_paths: bool


class _ImageHeaders(NamedTuple):
    """Sizes and Pillow's modes of those images that have a readable header."""

    sizes: set[tuple[int, int]]
    modes: set[str]
    has_paths: bool


def read_shapes(files: Labelled) -> Shapes:
    """Read the headers of all images.

    Raises:
        DataError: there is no image in any cell.
    """
    sizes: set[tuple[int, int]] = set()
    modes: set[str] = set()
    has_paths = False
    for headers in map_in_order(_read_headers, (cells for cells, _ in _cells(files))):
        sizes |= headers.sizes
        modes |= headers.modes
        has_paths |= headers.has_paths
    if not sizes:
        raise DataError(_no_pictures(files))
    sides = {side for size in sizes for side in size}
    return Shapes(sides.pop() if len(sides) == 1 else None, 1 if modes <= _GREY else 3, has_paths)


def part(files: Labelled, form: PixelFormat) -> CachedPart:
    """Return one split for the cache.

    Args:
        files: the files of the split
        form: the pixel format to decode to

    Returns:
        Its decoded images, and its labels as indices into the data set's classes.
    """
    count = sum(rows_of(path) for path, _ in files)
    return CachedPart(count, map_in_order(partial(_decode, form=form), _cells(files)))


def paths_in(files: Labelled) -> list[Path]:
    """Return the image files to which cells refer, in order."""
    return [cell for cells, _ in _cells(files) for cell in cells if isinstance(cell, Path)]


def _cells(files: Labelled) -> Iterator[tuple[list[Cell], NDArray[np.int64]]]:
    """Yield images and labels (int64; -1 where there is none), `IMAGES_PER_TASK` at a time."""
    for path, labels in files:
        for batch in batches(path, [labels.image, labels.label], IMAGES_PER_TASK):
            cells = [_cell(value, path.parent) for value in batch.column(labels.image).to_pylist()]
            yield cells, labels.read(batch.column(labels.label))


def _cell(value: Any, folder: Path) -> Cell:
    """Return one entry of an image column; no bytes if it is empty.

    Paths are relative to the parquet file's folder.
    """
    if not isinstance(value, dict):
        return value if isinstance(value, bytes) else b""
    if isinstance(value.get("bytes"), bytes):
        return bytes(value["bytes"])
    return folder / value["path"] if value.get("path") else b""


def _read_encoded(cell: Cell) -> bytes:
    return read_photo(cell) if isinstance(cell, Path) else cell


def _read_headers(cells: Sequence[Cell]) -> _ImageHeaders:
    headers = _ImageHeaders(set(), set(), any(isinstance(cell, Path) for cell in cells))
    for cell in cells:
        try:
            with open_photo(_read_encoded(cell)) as image:
                headers.sizes.add(image.size)
                headers.modes.add(image.mode)
        except Exception:  # a broken image is reported when it is decoded
            continue
    return headers


def _decode(chunk: tuple[list[Cell], NDArray[np.int64]], form: PixelFormat) -> Chunk:
    """Return pixels and labels; the label of an image that is broken or has no class becomes -1."""
    cells, labels = chunk
    pixels = np.zeros((len(cells), *form.shape), np.uint8)
    for row, cell in enumerate(cells):
        try:
            pixels[row] = decode(_read_encoded(cell), form)
        except NotUsableError:
            labels[row] = -1
    return pixels, labels


def _no_pictures(files: Labelled) -> str:
    path, labels = files[0]
    cell = next((cell for cells, _ in _cells(files) for cell in cells if cell), b"")
    got = (
        f"paths such as {cell}, where no picture is"
        if isinstance(cell, Path)
        else "no picture that can be read"
    )
    return (
        f"The column {labels.image!r} of {path} holds {got}; expected encoded images (JPEG, PNG,"
        " ...), or their paths relative to the parquet file."
    )
