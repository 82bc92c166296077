"""The camera: a view that is not quite straight, an unsharp and noisy picture of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fedshelf.simulations.datasets.scenes.surroundings import Canvas, between

MARGIN = 0.1
"""Room around the view on each side of a canvas, as a share of the view: perspective needs it."""
_SHIFT = 0.08  # most that a corner of the view moves, as a share of its side
_BLUR_SIDE = 160  # pixels: blur is that of a photo of this side, and grows with the side


def canvas_pixels(side: int) -> int:
    """Return the side of the canvas for a photo of this side (pixels), at twice its resolution."""
    return round(2 * side * (1 + 2 * MARGIN))


class Camera:
    """A camera before a canvas of a photo of `side` pixels."""

    def __init__(self, side: int, random: np.random.Generator) -> None:
        """Draw its position, and how sharp and noisy its pictures are."""
        self.side = side
        view = 2 * side
        origin = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + MARGIN
        self._corners = (origin + (random.random((4, 2)) * 2 - 1) * _SHIFT) * view
        self._blur = between(random, (0.0, 1.6)) if random.random() < 0.5 else 0.0
        self._shake = int(between(random, (2, 6))) if random.random() < 0.12 else 1
        self._noise = between(random, (0.01, 0.06))
        self._random = random

    @property
    def enlargement(self) -> float:
        """The area of an item in the view (at twice the photo's resolution) over the canvas's."""
        x, y = self._corners.T
        area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
        return (2 * self.side) ** 2 / area

    def view(self, items: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the numbers of items [C, C] as the camera sees them: [2S, 2S]."""
        return self._warp(items, Image.Resampling.NEAREST)

    def photograph(self, canvas: Canvas) -> NDArray[np.uint8]:
        """Return the photo of a canvas: uint8 [S, S, 3]."""
        seen = self._warp(
            np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8), Image.Resampling.BILINEAR
        )
        image = Image.fromarray(seen)
        if self._blur:
            radius = self._blur * self.side / _BLUR_SIDE
            image = image.filter(ImageFilter.GaussianBlur(radius))
        photo = np.asarray(image.reduce(2), np.float32)
        if self._shake > 1:
            steps = max(1, self._shake * self.side // _BLUR_SIDE)
            shifted = [np.roll(photo, step, axis=1) for step in range(steps)]
            photo = np.mean(shifted, axis=0, dtype=np.float32)
        grain = self._random.random(photo.shape, dtype=np.float32) + self._random.random(
            photo.shape, dtype=np.float32
        )
        noisy = photo + (grain - 1) * np.float32(255 * self._noise)
        pixels: NDArray[np.uint8] = np.rint(np.clip(noisy, 0, 255)).astype(np.uint8)
        return pixels

    def _warp(self, pixels: NDArray[np.uint8], resample: Image.Resampling) -> NDArray[Any]:
        view = 2 * self.side
        image = Image.fromarray(pixels).transform(
            (view, view), Image.Transform.PERSPECTIVE, self._coefficients(), resample
        )
        return np.asarray(image)

    def _coefficients(self) -> tuple[float, ...]:
        """Return Pillow's eight numbers of the map from the view to the canvas.

        The map from a square to a quadrilateral is that of P. Heckbert, "Fundamentals of Texture
        Mapping and Image Warping", 1989, section 2.2.3.
        """
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = self._corners.tolist()
        dx1, dx2, sx = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
        dy1, dy2, sy = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
        determinant = dx1 * dy2 - dx2 * dy1
        g = (sx * dy2 - dx2 * sy) / determinant
        h = (dx1 * sy - sx * dy1) / determinant
        a, b = x1 - x0 + g * x1, x3 - x0 + h * x3
        d, e = y1 - y0 + g * y1, y3 - y0 + h * y3
        n = 2 * self.side  # the square's side is one
        return a / n, b / n, x0, d / n, e / n, y0, g / n, h / n
