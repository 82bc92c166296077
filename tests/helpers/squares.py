"""Photos and films of coloured squares, which hand-made models find and name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers.videos import write_video

COLOURS = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255)}

Place = Callable[[int], tuple[int, int] | None]
"""The left and upper edge of a square in each frame; None: it is not there."""


def write_squares(file: Path, frames: int, squares: list[tuple[int, Place]]) -> Path:
    """Write ten pictures a second of squares with a colour each."""
    pictures = []
    for frame in range(frames):
        pixels = np.zeros((160, 160, 3), np.uint8)
        for channel, place in squares:
            if (corner := place(frame)) is not None:
                left, top = corner
                pixels[top : top + 16, left : left + 16] = 0
                pixels[top : top + 16, left : left + 16, channel] = 255
                shaded = pixels[top + 13 : top + 16, left : left + 16]
                shaded -= shaded // 6  # a flat crop shows nothing
        pictures.append(Image.fromarray(pixels))
    times = [frame / 10 for frame in range(frames)]
    return write_video(file, pictures, codec="ffv1", times=times)


def write_shelf(file: Path) -> Path:
    """Write a photo of two shelves: red, red and blue above blue, a gap and blue."""
    pixels = np.zeros((160, 160, 3), np.uint8)
    for row, colours in enumerate(("rrb", "b b")):
        for column, letter in enumerate(colours):
            if letter in COLOURS:
                top, left = 50 + 60 * row, 22 + 32 * column
                pixels[top : top + 16, left : left + 16] = COLOURS[letter]
    shade = [63, 64, 65, 123, 124, 125]  # a flat crop shows nothing
    pixels[shade] -= pixels[shade] // 6
    file.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(file, "PNG")
    return file
