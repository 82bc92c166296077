"""A photo of squares in the colours that hand-made models know."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels [height, width, 3] as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def coloured_shelf() -> bytes:
    """Two red squares and a blue one in a row, a green one below, and one of no class's colour."""
    pixels = np.zeros((160, 160, 3), np.uint8)
    for left, top, colour in (
        (22, 30, (255, 0, 0)),
        (54, 30, (255, 0, 0)),
        (90, 30, (0, 0, 255)),
        (22, 110, (0, 255, 0)),
        (90, 110, (255, 250, 0)),
    ):
        pixels[top : top + 16, left : left + 16] = colour
        pixels[top + 13 : top + 16, left : left + 16] //= 6  # a flat crop shows nothing
        pixels[top + 13 : top + 16, left : left + 16] *= 5
    return png(pixels)
