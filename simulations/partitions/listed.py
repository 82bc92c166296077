"""A split that somebody else made: a file that lists the images of each store.

    [[0, 5, 17], [3, 4]]          or     {"0": [0, 5, 17], "1": [3, 4]}

Positions count the data set's training images from 0, in the data set's order. So a comparison can
use the very split of another paper or program, and what differs is the method alone.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions.types import NO_STORE, Owners, PartitionTask, Rows


def assign(task: PartitionTask, path: str) -> Owners:
    """Assign images as a file says.

    Args:
        task: the images and the stores; nothing is drawn
        path: a JSON file with a list of positions for each store, as a list, or as an object whose
            names are not used; the first is store-0

    Returns:
        The position of each image's store, int64 [N]; NO_STORE for an image that is in no list.

    Raises:
        ConfigError: the file cannot be read or has another form, lists another number of stores
            than `task.stores`, a position that does not exist, or an image twice.
    """
    parts = _read(Path(path))
    if len(parts) != task.stores:
        raise ConfigError(
            f"{path} lists the images of {len(parts)} stores, but data.stores is {task.stores};"
            f" set data.stores={len(parts)}."
        )
    sizes = [len(part) for part in parts]
    positions = np.array([place for part in parts for place in part], np.int64)
    stores = np.repeat(np.arange(len(parts)), sizes)
    images = len(task.labels)
    wrong = np.flatnonzero((positions < 0) | (positions >= images))
    if len(wrong):
        raise ConfigError(
            f"{path} lists image {positions[wrong[0]]} for store {stores[wrong[0]]}; the data set"
            f" has training images 0 to {images - 1:,}: the file was made for another data set."
        )
    counts = np.bincount(positions, minlength=images)
    if counts.max(initial=0) > 1:
        twice = int(counts.argmax())
        raise ConfigError(
            f"{path} lists image {twice} {counts[twice]} times; expected each image at one store."
        )
    owners = np.full(images, NO_STORE, np.int64)
    owners[positions] = stores
    return owners


def unlisted(parts: Sequence[Rows], images: int) -> str:
    """Return a sentence on the images that no store has; empty if every image is at a store.

    Args:
        parts: of each store, the positions of its images
        images: number of images of the data set
    """
    left = images - sum(len(part) for part in parts)
    return f"{left:,} of {images:,} training images are at no store." if left else ""


def _read(path: Path) -> list[list[int]]:
    """Return each store's positions. Raises ConfigError."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}); {_EXPECTED}.") from error
    parts = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(parts, list) or not parts or not all(map(_is_part, parts)):
        raise ConfigError(f"{path} has another form; {_EXPECTED}.")
    return parts


_EXPECTED = "expected a list of positions for each store, such as [[0, 5, 17], [3, 4]]"
_LARGEST = 2**31  # no data set has as many images; larger numbers would overflow


def _is_part(part: Any) -> bool:
    """Return whether it is a list of whole numbers."""
    return isinstance(part, list) and all(
        type(place) is int and abs(place) < _LARGEST for place in part
    )
