"""Pixels of a person's own images, in whatever form they come: tensors, arrays or PIL images.

Fedshelf keeps pixels as whole numbers from 0 to 255, [height, width, channels], and normalises them
itself for each network.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fedshelf.common.errors import DataError

Pixels = NDArray[np.uint8]
CHANNELS = (1, 3)  # grey, RGB
STEPS = 255  # steps from black to white
EXACT = 1e-4  # of a step: floats as near to a step were made of whole numbers


def as_pixels(image: Any, owner: str) -> tuple[Pixels, bool]:
    """Return one image as uint8 [height, width, channels], and whether it had to be rounded.

    Args:
        image: a PIL image, a tensor or array [H, W], [H, W, C] or [C, H, W]: uint8 or whole
            numbers 0 to 255, or floats 0 to 1
        owner: the data set, in the words of an error

    Raises:
        DataError: it is something else, or its channels cannot be told from its sides.
    """
    if isinstance(image, Image.Image):
        plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
        array = np.asarray(plain, np.uint8)
        return array.reshape(*array.shape[:2], -1), False
    array = as_array(image, owner)
    if array.ndim not in (2, 3):
        raise DataError(
            f"An image of {owner} has the shape {list(array.shape)}; expected [height, width],"
            " [height, width, channels] or [channels, height, width]."
        )
    stacked, is_rounded = as_batch(array[None], owner)
    return stacked[0], is_rounded


def as_batch(images: Any, owner: str) -> tuple[Pixels, bool]:
    """Return images of one size as uint8 [N, height, width, channels], and whether they had to be
    rounded.

    Args:
        images: a tensor or array [N, H, W], [N, H, W, C] or [N, C, H, W], with values as in
            `as_pixels`
        owner: the data set, in the words of an error

    Raises:
        DataError: they have another shape or other values.
    """
    array = as_array(images, owner)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise DataError(
            f"The images of {owner} have the shape {list(array.shape)}; expected"
            " [N, height, width, channels] or [N, channels, height, width]."
        )
    first, last = array.shape[1] in CHANNELS, array.shape[3] in CHANNELS
    if first == last:
        reason = "either end may be the channels" if first else "neither end has 1 or 3 channels"
        raise DataError(
            f"The images of {owner} have the shape {list(array.shape)}, where {reason}; expected"
            " grey (1) or RGB (3): [N, height, width, channels] or [N, channels, height, width]."
        )
    return _whole(np.moveaxis(array, 1, 3) if first else array, owner)


def as_array(values: Any, owner: str) -> NDArray[Any]:
    """Return numbers as an array; those of a tensor are not copied if it is on the CPU.

    Raises:
        DataError: they are no numbers, or of unequal shapes.
    """
    if isinstance(values, Tensor):
        return np.asarray(values.detach().cpu())
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(
            f"{owner} holds arrays of unequal shapes ({error}); give a PyTorch data set whose items"
            " are (image, label)."
        ) from error
    if array.dtype == object:
        raise DataError(
            f"{owner} holds {type(values).__name__}, not numbers; expected images as PIL images,"
            " tensors or arrays."
        )
    return array


def _whole(array: NDArray[Any], owner: str) -> tuple[Pixels, bool]:
    """Return intensities as whole numbers 0 to 255, and whether they had to be rounded."""
    if array.dtype == np.uint8 or array.size == 0:
        return np.ascontiguousarray(array, np.uint8), False
    low, high = float(array.min()), float(array.max())
    is_float = np.issubdtype(array.dtype, np.floating)
    top = 1 if is_float else STEPS
    if not (low >= 0 and high <= top):  # also refuses NaN
        advice = (
            "floats from 0 to 1, not yet normalised: Fedshelf does that itself"
            if is_float
            else "whole numbers from 0 to 255"
        )
        raise DataError(
            f"The images of {owner} have values from {low:.4g} to {high:.4g} ({array.dtype});"
            f" expected {advice}."
        )
    if not is_float:
        return np.ascontiguousarray(array, np.uint8), False
    scaled = array.astype(np.float64) * STEPS
    whole = np.rint(scaled)
    return np.ascontiguousarray(whole, np.uint8), bool(np.abs(scaled - whole).max() > EXACT)
