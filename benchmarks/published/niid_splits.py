"""NIID-Bench's own splits, drawn with its generators in its order, as files of positions.

Its `partition_data` (utils.py of github.com/Xtra-Computing/NIID-Bench) draws from the global
generators of Python and NumPy, seeded with --init_seed, before anything else is drawn. The same
draws from `random.Random(seed)` and `numpy.random.RandomState(seed)` give its splits. Positions are
those of the data set that is here. If its images stand in another order than in the copy that
NIID-Bench downloads, a store has as many images of each class as there, but other ones.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.published.cells import Cell
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.system.files import write_text
from fedshelf.simulations import datasets

NAME = "niid-bench"
LEAST_IMAGES = 10  # a draw in which a party has fewer is drawn again, as there


def dirichlet(labels: NDArray[np.int64], parties: int, seed: int, beta: float) -> list[list[int]]:
    """Return each party's positions: a class's shares are drawn from Dirichlet(beta)."""
    generator = np.random.RandomState(seed)
    classes = len(np.unique(labels))
    parts: list[list[int]] = []
    while min(map(len, parts), default=0) < LEAST_IMAGES:
        parts = [[] for _ in range(parties)]
        for label in range(classes):
            images = np.flatnonzero(labels == label)
            generator.shuffle(images)
            shares = generator.dirichlet(np.repeat(beta, parties))
            # a party that has its fair share gets no more
            shares *= [len(part) < len(labels) / parties for part in parts]
            ends = (np.cumsum(shares / shares.sum()) * len(images)).astype(int)[:-1]
            for part, piece in zip(parts, np.split(images, ends), strict=True):
                part.extend(piece.tolist())
    return parts


def some_labels(labels: NDArray[np.int64], parties: int, seed: int, count: int) -> list[list[int]]:
    """Return each party's positions: party i has class i, and `count - 1` others at random."""
    generator = np.random.RandomState(seed)
    of_python = random.Random(seed)
    classes = len(np.unique(labels))
    held: list[list[int]] = []
    for party in range(parties):
        own = [party % classes]
        while len(own) < count:
            label = of_python.randint(0, classes - 1)
            if label not in own:
                own.append(label)
        held.append(own)
    parts: list[list[int]] = [[] for _ in range(parties)]
    for label in range(classes):
        images = np.flatnonzero(labels == label)
        generator.shuffle(images)
        holders = [party for party in range(parties) if label in held[party]]
        for party, piece in zip(holders, np.array_split(images, len(holders)), strict=True):
            parts[party].extend(piece.tolist())
    return parts


def quantity(labels: NDArray[np.int64], parties: int, seed: int, beta: float) -> list[list[int]]:
    """Return each party's positions: the parties' sizes are drawn from Dirichlet(beta)."""
    generator = np.random.RandomState(seed)
    images = generator.permutation(len(labels))
    shares = generator.dirichlet(np.repeat(beta, parties))
    while (shares * len(images)).min() < LEAST_IMAGES:
        shares = generator.dirichlet(np.repeat(beta, parties))
    ends = (np.cumsum(shares / shares.sum()) * len(images)).astype(int)[:-1]
    return [part.tolist() for part in np.split(images, ends)]


DRAWS: dict[str, Callable[..., list[list[int]]]] = {
    "dirichlet": dirichlet,
    "labels": some_labels,
    "quantity": quantity,
}
"""The drawing that stands behind each of our partitions of the same name."""


def dealt_as_there(cell: Cell, folder: Path) -> Cell:
    """Return the cell with NIID-Bench's split for its seed, which is written into a folder.

    Args:
        cell: its partition is one of `DRAWS` with its parameter, such as dirichlet:0.5
        folder: made if it does not exist
    """
    data, seed = cell.config.data, cell.config.run.seed
    name, _, parameter = data.partition.partition(":")
    source = datasets.find(data)
    assert source.native_size is not None, "the published data sets have images of one size"
    labels = source.load(PixelFormat(source.native_size, source.channels)).train.targets().numpy()
    value = int(parameter) if name == "labels" else float(parameter)
    parts = DRAWS[name](labels, data.stores, seed, value)
    path = folder / f"{NAME}-{name}-{parameter}-{data.stores}-{seed}.json"
    write_text(path, json.dumps(parts))
    return cell.dealt(NAME, f"file:{path}")
