"""A partition of a person's own: a function from labels to the images of each store."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions.types import NO_STORE, Labels, Owners, PartitionTask

PartitionFunction = Callable[[Labels, int, np.random.Generator], Sequence[Any]]
"""(class of each image int64 [N], number of stores, generator to draw from) -> the positions of
each store's images, 0 to N - 1.
"""


def assign(task: PartitionTask, name: str, function: PartitionFunction) -> Owners:
    """Return the store of each image, NO_STORE for images that no store gets: int64 [N].

    Args:
        task: the images and the stores
        name: `module:Object`, for messages
        function: the person's own

    Raises:
        ConfigError: it fails, or returns no parts, another number of them, positions out of range,
            or an image for two stores.

    >>> halves = lambda labels, stores, random: [[0, 2], [1]]
    >>> task = PartitionTask(np.zeros(4, np.int64), 2, 1, np.random.default_rng(0))
    >>> assign(task, "python:halves", halves).tolist()
    [0, 1, 0, -1]
    """
    try:
        parts = list(function(task.labels.copy(), task.stores, task.random))
    except Exception as error:  # a person's code may raise anything
        raise ConfigError(
            f"The partition {name} fails on {len(task.labels)} images and {task.stores} stores:"
            f" {type(error).__name__}: {error}."
        ) from error
    if len(parts) != task.stores:
        raise ConfigError(
            f"The partition {name} returned {len(parts)} parts; expected one list of positions for"
            f" each of the {task.stores} stores."
        )
    owners = np.full(len(task.labels), NO_STORE, np.int64)
    for store, part in enumerate(parts):
        rows = np.asarray(part)
        if rows.size == 0:
            continue  # `partition` refuses stores with too few images
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise ConfigError(
                f"The partition {name} returned {rows.dtype} {list(rows.shape)} for store {store};"
                " expected whole numbers in one dimension: the positions of its images."
            )
        if rows.min() < 0 or rows.max() >= len(owners):
            raise ConfigError(
                f"The partition {name} gives store {store} positions from {rows.min()} to"
                f" {rows.max()}; expected 0 to {len(owners) - 1}."
            )
        if len(np.unique(rows)) < len(rows) or (owners[rows] != NO_STORE).any():
            raise ConfigError(
                f"The partition {name} gives an image of store {store} away twice; expected each"
                " image at one store at most."
            )
        owners[rows] = store
    return owners
