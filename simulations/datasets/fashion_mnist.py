"""Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): 28x28 grey photos of clothing, 10 classes.

It is read from parquet files, or from its original files
(https://github.com/zalandoresearch/fashion-mnist) in the IDX format of
http://yann.lecun.com/exdb/mnist, compressed or not.
"""

import gzip
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.simulations.datasets import arrays, parquet, search_paths
from fedshelf.simulations.datasets.dataset.cache import Chunk, key_of
from fedshelf.simulations.datasets.dataset.types import DatasetSource

REPOSITORY = "zalando-datasets/fashion_mnist"
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
SPLIT_PREFIXES = {"train": "train", "test": "t10k"}


def source(name: str) -> DatasetSource:
    """Return Fashion-MNIST from the first folder that has it.

    Raises:
        DataError: no folder has it; the message names the folders and files.
    """
    for folder in search_paths.candidates(name):
        if parquet.layout(folder):
            return parquet.source(folder, name)
        if files := _files(folder):
            key = key_of(path for pair in files.values() for path in pair)
            return DatasetSource(
                name, 28, 1, partial(arrays.load, name, CLASSES, key, partial(_read_all, files))
            )
    if downloaded_folder := search_paths.fetch(REPOSITORY, name):
        return parquet.source(downloaded_folder, name)
    raise DataError(
        search_paths.not_here(
            name, REPOSITORY, " or train-images-idx3-ubyte.gz and its three companions"
        )
    )


def _files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return split -> files of images and labels; empty unless all four are there."""
    files = {}
    for split, prefix in SPLIT_PREFIXES.items():
        pair = [folder / f"{prefix}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
        present = [
            file
            for path in pair
            for file in (path, path.with_name(path.name + ".gz"))
            if file.is_file()
        ]
        if len(present) >= len(pair):
            files[split] = (present[0], present[-1])
    return files if len(files) == len(SPLIT_PREFIXES) else {}


def _read_all(files: dict[str, tuple[Path, Path]]) -> dict[str, Chunk]:
    return {
        split: (read_idx(images)[..., None], read_idx(labels).astype(np.int64))
        for split, (images, labels) in files.items()
    }


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array of bytes in IDX format, in the shape that the file states.

    The file has two zeros, type 8, the number of dimensions, the size of each (big-endian), then
    the data.

    Args:
        path: the file; compressed if its name ends with .gz

    Raises:
        DataError: it cannot be read, or is not such a file.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read {path}: {error}; download it again.") from error
    shape = (
        np.frombuffer(data[4 : 4 + 4 * data[3]], ">u4").tolist() if data[:3] == b"\0\0\x08" else []
    )
    start = 4 + 4 * len(shape)
    if not shape or len(data) - start != int(np.prod(shape)):
        raise DataError(f"{path} is not a whole IDX file of bytes; download it again.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
