"""Run lengths of COCO: the pixels of one product as numbers, or as a short text of them.

The runs go down the columns of a photo, from left to right, outside and inside in turn, beginning
outside. As text, each run from the fourth on is its difference to the run two before it; a number
is written five bits at a time, the lowest first, as characters from "0" on: 32 is added if more
follow, and the highest bit of the last five is the sign.
Source: https://github.com/cocodataset/cocoapi (`MaskApi`, common/maskApi.h), which defines both.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_FIRST_CHARACTER = 48
_MORE = 0x20
_SIGN = 0x10
_LONGEST_NUMBER = 8  # characters; 40 bits are more than any photo has pixels


def decode_text(text: str) -> NDArray[np.int64]:
    """Return the runs, int64 [R].

    Raises:
        ValueError: it is no such text

    >>> decode_text(encode_text([6, 1, 40, 4, 5, 4, 5, 4, 21])).tolist()
    [6, 1, 40, 4, 5, 4, 5, 4, 21]
    """
    runs: list[int] = []
    value = length = 0
    for character in text:
        bits = ord(character) - _FIRST_CHARACTER
        if not 0 <= bits < 2 * _MORE or length == _LONGEST_NUMBER:
            raise ValueError("damaged run lengths")
        value |= (bits & (_MORE - 1)) << 5 * length
        length += 1
        if not bits & _MORE:
            if bits & _SIGN:
                value -= 1 << 5 * length
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            if runs[-1] < 0:
                raise ValueError("damaged run lengths")
            value = length = 0
    if length:
        raise ValueError("damaged run lengths")
    return np.array(runs, np.int64)


def encode_text(runs: Sequence[int]) -> str:
    """Return runs as text, the inverse of `decode_text`."""
    characters = []
    for place, run in enumerate(runs):
        value = run - (runs[place - 2] if place > 2 else 0)
        has_more = True
        while has_more:
            bits = value & (_MORE - 1)
            value >>= 5
            has_more = value != (-1 if bits & _SIGN else 0)
            characters.append(chr(_FIRST_CHARACTER + (bits | _MORE if has_more else bits)))
    return "".join(characters)


def to_pixels(runs: NDArray[np.int64], width: int, height: int) -> NDArray[np.bool_]:
    """Return the pixels of a product, bool [height, width].

    Raises:
        ValueError: the runs are not those of a photo of this size
    """
    # 2**40 runs of 2**40 would not fit into 64 bits: they are added as Python's numbers
    if runs.min(initial=0) < 0 or sum(runs.tolist()) != width * height:
        raise ValueError("run lengths of another size")
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def from_pixels(pixels: NDArray[np.bool_]) -> list[int]:
    """Return the runs of a product's pixels, bool [height, width]."""
    flat = pixels.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    runs: list[int] = np.diff(edges, prepend=0, append=len(flat)).tolist()
    return runs
