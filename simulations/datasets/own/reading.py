"""Reading of a person's own data set into memory: images, labels and the names of classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.simulations.datasets.own.pixels import Pixels, as_array, as_batch, as_pixels

PAIR = 2  # images and labels; image and label
PROBED = 3  # items that are read twice, to see whether they stay the same


@dataclass(frozen=True)
class OwnImages:
    """The images of one split.

    Attributes:
        pixels: uint8 [N, H, W, C] if all have one size, else a list of uint8 [height, width, C]
        labels: a whole number or the name of a class for each
        classes: names that the data set gives itself, in the order of its labels; empty: none
        is_rounded: whether floats had to be rounded to 256 steps
    """

    pixels: Pixels | list[Pixels]
    labels: Sequence[int | str]
    classes: tuple[str, ...]
    is_rounded: bool

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return max(image.shape[2] for image in self.pixels[:1]) if len(self.pixels) else 3

    @property
    def side(self) -> int | None:
        """The side in pixels if all images are squares of one size, else None."""
        if isinstance(self.pixels, list):
            return None
        height, width = self.pixels.shape[1:3]
        return int(height) if height == width else None


def read_split(given: Any, owner: str) -> OwnImages:
    """Read a split.

    Args:
        given: a pair of images and labels, or a data set with a length whose items are pairs of
            image and label, as PyTorch's are
        owner: the data set, in the words of an error

    Raises:
        DataError: it is something else, its images or labels cannot be used, or its items change
            each time they are read.
    """
    if isinstance(given, tuple | list) and len(given) == PAIR and not _is_item(given[0]):
        pixels, is_rounded = as_batch(given[0], owner)
        return OwnImages(pixels, _labels(given[1], len(pixels), owner), (), is_rounded)
    if isinstance(given, Mapping) or not (
        hasattr(given, "__len__") and hasattr(given, "__getitem__")
    ):
        raise DataError(
            f"{owner} is a {type(given).__name__}; expected (images, labels), or a data set with a"
            " length whose items are (image, label), as torch.utils.data.Dataset."
        )
    return _read_items(given, owner)


def _is_item(first: Any) -> bool:
    """Return whether a pair is two items of a list of (image, label), not images and labels."""
    return isinstance(first, tuple) and len(first) == PAIR and np.ndim(first[1]) == 0


def _read_items(given: Any, owner: str) -> OwnImages:
    images: list[Pixels] = []
    labels: list[Any] = []
    is_rounded = False
    for index in range(len(given)):
        pixels, label, rounded = _item(given, index, owner)
        if index < PROBED and not np.array_equal(pixels, _item(given, index, owner)[0]):
            raise DataError(
                f"{owner} gives another image each time it is asked for item {index}: a random"
                " transformation would be drawn once for the whole run. Take it out, and set"
                " Fedshelf's own (data.flip, data.crop ...), or give a function as augmentation."
            )
        images.append(pixels)
        labels.append(label)
        is_rounded |= rounded
    if len({image.shape[2] for image in images}) > 1:
        images = [np.repeat(i, 3, axis=2) if i.shape[2] == 1 else i for i in images]
    is_even = len({image.shape for image in images}) == 1
    classes = tuple(map(str, getattr(given, "classes", ()) or ()))
    return OwnImages(
        np.stack(images) if is_even else images,
        _labels(labels, len(images), owner),
        classes,
        is_rounded,
    )


def _item(given: Any, index: int, owner: str) -> tuple[Pixels, Any, bool]:
    item = given[index]
    if not isinstance(item, tuple | list) or len(item) != PAIR:
        raise DataError(
            f"Item {index} of {owner} is a {type(item).__name__}; expected (image, label)."
        )
    image, label = item
    if not isinstance(image, Image.Image | Tensor | np.ndarray):
        raise DataError(
            f"The image of item {index} of {owner} is a {type(image).__name__}; expected a PIL"
            " image, a tensor or an array."
        )
    pixels, is_rounded = as_pixels(image, f"{owner} (item {index})")
    return pixels, label.item() if isinstance(label, Tensor | np.generic) else label, is_rounded


def _labels(given: Any, images: int, owner: str) -> list[int | str]:
    """Return labels as plain numbers or names.

    Raises:
        DataError: they are neither, or not one for each image.
    """
    array: NDArray[Any] = as_array(given, f"The labels of {owner}") if images else np.zeros(0, int)
    if array.shape != (images,):
        raise DataError(
            f"{owner} has {images} images and labels of the shape {list(array.shape)}; expected one"
            " label for each image."
        )
    if not (np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.str_)):
        raise DataError(
            f"The labels of {owner} are {array.dtype}; expected whole numbers from 0, or names."
        )
    labels: list[int | str] = array.tolist()
    return labels
