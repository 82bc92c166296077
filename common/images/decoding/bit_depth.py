"""Conversion of pictures of more than eight bits to grey ones of eight.

No file tells which value is white. For 16 bits, white is the largest value of all bits, or of the
bits that the brightest pixel needs (many sensors write 12). Numbers of 32 bits and fractions are
spread from the picture's own darkest pixel to its brightest.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SAMPLE_FORMAT = 339  # TIFF 6.0, section 19: 1 is unsigned, 2 signed, 3 floating point
_UNSIGNED = 1
_TWELVE_BITS = 2**12
_ROWS_AT_ONCE = 256


def is_deep(image: Image.Image) -> bool:
    """Return whether the pixels have more than eight bits per channel."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def to_eight_bits(image: Image.Image) -> Image.Image | None:
    """Return the same picture in mode L; None if it has no range.

    It has none if all its pixels are alike, or none is a number.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray(_shifted(np.asarray(image)))
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "I" and _is_unsigned(image):
        values = values.view(np.uint32)
    spread = _spread(values)
    return None if spread is None else Image.fromarray(spread)


def _shifted(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    largest = int(values.max(initial=0))
    bits = 16 if largest >= _TWELVE_BITS else max(8, largest.bit_length())
    return (values >> (bits - 8)).astype(np.uint8)


def _spread(values: NDArray[Any]) -> NDArray[np.uint8] | None:
    """Return numbers spread from the least (0) to the largest (255); None if there is no range.

    An infinite one is at its end, and NaN is dark.
    """
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        least = float(np.min(values, where=finite, initial=np.inf))
        largest = float(np.max(values, where=finite, initial=-np.inf))
    else:
        least = float(values.min())
        largest = float(values.max())
    if not least < largest:
        return None
    spread = np.empty(values.shape, np.uint8)
    # a few rows at a time: a whole photo of 64-bit numbers would be large
    for start in range(0, len(values), _ROWS_AT_ONCE):
        rows = np.nan_to_num(
            values[start : start + _ROWS_AT_ONCE].astype(np.float64),
            nan=least,
            posinf=largest,
            neginf=least,
        )
        spread[start : start + _ROWS_AT_ONCE] = np.rint((rows - least) * (255 / (largest - least)))
    return spread


def _is_unsigned(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] == _UNSIGNED)
