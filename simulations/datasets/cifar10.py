"""CIFAR-10 (Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"): 32x32 RGB, 10 classes.

Read from parquet files, or from its "binary version" (https://www.cs.toronto.edu/~kriz/cifar.html): records
of a label byte and 3 x 32 x 32 bytes, channel by channel. Its Python version is pickled and is not read.
"""

from functools import partial
from pathlib import Path

import numpy as np

from common.errors import DataError
from simulations.datasets import arrays, parquet, places
from simulations.datasets.cache import Chunk, key_of
from simulations.datasets.types import Source

REPOSITORY = "uoft-cs/cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORD = 1 + 3 * 32 * 32


def source(name: str) -> Source:
    """CIFAR-10 from the first place that has it. Raises DataError saying where to put which files."""
    for folder in places.candidates(name):
        if parquet.layout(folder):
            return parquet.source(folder, name)
        for home in (folder, folder / "cifar-10-batches-bin"):
            if (home / "test_batch.bin").is_file():
                return _binary(home, name)
    if fetched := places.fetch(REPOSITORY, name):
        return parquet.source(fetched, name)
    raise DataError(places.not_here(name, REPOSITORY, " or data_batch_1.bin to data_batch_5.bin and test_batch.bin"))


def _binary(folder: Path, name: str) -> Source:
    train, test = sorted(folder.glob("data_batch_*.bin")), [folder / "test_batch.bin"]
    if not train:
        raise DataError(f"{folder} has test_batch.bin, but no data_batch_1.bin to data_batch_5.bin; add them.")
    key = key_of([*train, *test])
    return Source(
        name, 32, 3, partial(arrays.load, name, CLASSES, key, lambda: {"train": _read(train), "test": _read(test)})
    )


def _read(paths: list[Path]) -> Chunk:
    for path in paths:
        if path.stat().st_size % RECORD:
            raise DataError(f"{path} has {path.stat().st_size} bytes, not a multiple of {RECORD}; download it again.")
    records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, RECORD) for path in paths])
    pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return pixels, records[:, 0].astype(np.int64)
