"""CIFAR-10: 32x32 RGB images of 10 classes.

The source is Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". The data set
is read from parquet files, or from the two versions at https://www.cs.toronto.edu/~kriz/cifar.html,
of rows of 3 x 32 x 32 bytes, channel by channel. In the "binary version" a record is a label byte
and such a row. The "Python version", which torchvision downloads, is a pickle; its values are read
without running any of it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.simulations.datasets import arrays, inert_pickle, parquet, search_paths
from fedshelf.simulations.datasets.dataset.cache import Chunk, key_of
from fedshelf.simulations.datasets.dataset.types import DatasetSource

REPOSITORY = "uoft-cs/cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BYTES_PER_IMAGE = 3 * 32 * 32

Rows = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (uint8 [n, BYTES_PER_IMAGE]) and labels (int64 [n]) of a file."""


def source(name: str) -> DatasetSource:
    """Return CIFAR-10 from the first folder that has it.

    Raises:
        DataError: no folder has it; the message names the folders and files.
    """
    for folder in search_paths.candidates(name):
        if parquet.layout(folder):
            return parquet.source(folder, name)
        for batches_folder in (folder, folder / "cifar-10-batches-bin"):
            if (batches_folder / "test_batch.bin").is_file():
                return _batches(batches_folder, name, ".bin", _read_binary)
        for batches_folder in (folder, folder / "cifar-10-batches-py"):
            if (batches_folder / "test_batch").is_file():
                return _batches(batches_folder, name, "", _read_pickled)
    if downloaded_folder := search_paths.fetch(REPOSITORY, name):
        return parquet.source(downloaded_folder, name)
    further = (
        ", or cifar-10-batches-py or cifar-10-batches-bin with data_batch_1 to data_batch_5 and"
        " test_batch,"
    )
    raise DataError(search_paths.not_here(name, REPOSITORY, further))


def _batches(folder: Path, name: str, suffix: str, read: Callable[[Path], Rows]) -> DatasetSource:
    """Return the data set in files data_batch_1 to data_batch_5 and test_batch.

    Raises:
        DataError: a file is missing.
    """
    train = [folder / f"data_batch_{batch_number}{suffix}" for batch_number in range(1, 6)]
    test = folder / f"test_batch{suffix}"
    if missing := [path.name for path in train if not path.is_file()]:
        raise DataError(
            f"{folder} has {test.name}, but no {', '.join(missing)}; add the missing files."
        )
    key = key_of([*train, test])

    def splits() -> dict[str, Chunk]:
        return {
            "train": _concatenate([read(path) for path in train]),
            "test": _concatenate([read(test)]),
        }

    return DatasetSource(name, 32, 3, partial(arrays.load, name, CLASSES, key, splits))


def _concatenate(parts: list[Rows]) -> Chunk:
    rows, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _read_binary(path: Path) -> Rows:
    content = np.fromfile(path, np.uint8)
    if not content.size or content.size % (1 + BYTES_PER_IMAGE):
        raise DataError(
            f"{path} has {content.size} bytes, not a multiple of {1 + BYTES_PER_IMAGE}; download it"
            " again."
        )
    records = content.reshape(-1, 1 + BYTES_PER_IMAGE)
    return records[:, 1:], _check_labels(path, records[:, 0].astype(np.int64))


def _read_pickled(path: Path) -> Rows:
    """Return the images and labels of a pickled batch.

    They are the dictionary's entries `data`, a NumPy array of bytes, and `labels`, a list.
    """
    batch = inert_pickle.read(path)
    try:
        _, shape, kind, is_fortran, content = batch["data"].state
        labels = np.array(batch["labels"], dtype=np.int64)
        rows = np.frombuffer(content.encode("latin-1"), np.uint8).reshape(shape)
        if (
            kind.arguments[0] != "u1"
            or is_fortran
            or rows.shape != (len(labels), BYTES_PER_IMAGE)
            or not len(labels)
        ):
            raise ValueError(
                f"an array of type {kind.arguments[0]} and shape {shape} with {len(labels)} labels"
            )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"{path} holds no batch of CIFAR-10 ({error}); download it again."
        ) from error
    return rows, _check_labels(path, labels)


def _check_labels(path: Path, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DataError(
            f"{path} has labels up to {labels.max()}, and CIFAR-10 those from 0 to 9; download it"
            " again."
        )
    return labels
