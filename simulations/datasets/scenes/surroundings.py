"""Everything in a scene but the goods: walls, boards, price tags, reflections, obstacles, light.

A canvas is float32 [C, C, 3] in 0..1, changed in place. A random colour is that of `drawing.Dice`.
"""

import numpy as np
from numpy.typing import NDArray

from fedshelf.simulations.datasets.drawing import Dice
from fedshelf.simulations.datasets.scenes.styles import Range, ShelfStyle

Canvas = NDArray[np.float32]


def between(random: np.random.Generator, bounds: Range) -> float:
    """Draw a number."""
    return float(random.random() * (bounds[1] - bounds[0]) + bounds[0])


def colour(random: np.random.Generator, saturation: Range, value: Range) -> NDArray[np.float32]:
    """Draw a colour of any hue: float32 [3]."""
    drawn: NDArray[np.float32] = Dice(1, random).colour(saturation, value)[0, 0, 0]
    return drawn


def wall(style: ShelfStyle, pixels: int, pitch: float, random: np.random.Generator) -> Canvas:
    """Draw the surface behind the goods.

    Args:
        style: of the shelf
        pixels: side of the canvas
        pitch: pixels from shelf to shelf
        random: source of all variation

    Returns:
        float32 [C, C, 3]
    """
    canvas = np.empty((pixels, pixels, 3), np.float32)
    canvas[:] = _of_hue(style, random)
    axis = np.arange(pixels, dtype=np.float32)
    if style.surface == "planks":
        plank = pitch * between(random, (0.2, 0.4))
        grain = random.random(pixels, dtype=np.float32) * 0.12 + 0.94
        seam = np.where(axis % plank < 0.03 * plank + 1, np.float32(0.6), grain)
        canvas *= seam[:, None, None]
    elif style.surface == "holes":
        step = pitch * between(random, (0.1, 0.16))
        distance = ((axis % step) / step - 0.5) ** 2
        holes = distance[:, None] + distance[None, :] < 0.02
        canvas[holes] *= 0.45
    canvas *= (np.linspace(1.05, 0.85, pixels, dtype=np.float32))[:, None, None]
    return canvas


def _of_hue(style: ShelfStyle, random: np.random.Generator) -> NDArray[np.float32]:
    hue = between(random, style.wall_hue)
    saturation, value = (between(random, bounds) for bounds in style.wall)
    offsets = np.array([5, 3, 1], np.float32)  # the HSV cone, as in `Dice.colour`
    k = (hue + offsets) % 6
    rgb: NDArray[np.float32] = value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)
    return rgb


def board_colour(style: ShelfStyle, random: np.random.Generator) -> NDArray[np.float32]:
    """Draw the colour of a shelf's front: wood, the metal of a fridge, or a shop's own colour."""
    if style.surface == "planks":
        return _of_hue(style, random) * np.float32(1.3)
    if style.glass:
        return colour(random, (0.0, 0.1), (0.4, 0.8))
    saturation = (0.0, 0.1) if random.random() < 0.6 else (0.4, 0.9)
    return colour(random, saturation, (0.6, 0.95))


def shelf_shadow(canvas: Canvas, top: float, depth: float) -> None:
    """Darken the goods below a board.

    Args:
        canvas: changed
        top: row of pixels at the board's lower edge
        depth: pixels that its shadow reaches down
    """
    low, high = (int(np.clip(row, 0, len(canvas))) for row in (top, top + depth))
    if high > low:
        fall = (np.arange(low, high, dtype=np.float32) - np.float32(top)) / np.float32(depth)
        canvas[low:high] *= (0.55 + 0.45 * fall)[:, None, None]


def board(
    canvas: Canvas, top: float, thickness: float, front: NDArray[np.float32], lip: float
) -> None:
    """Draw a shelf's front, with light on its upper edge.

    Args:
        canvas: changed
        top: row of pixels of its upper edge
        thickness: pixels
        front: its colour, float32 [3]
        lip: brightness of its upper edge over that of its front
    """
    low, edge, high = (
        int(np.clip(round(row), 0, len(canvas)))
        for row in (top, top + 0.2 * thickness, top + thickness)
    )
    if high > low:
        shade = np.linspace(1.0, 0.75, high - low, dtype=np.float32)
        canvas[low:high] = np.clip(front * shade[:, None], 0, 1)[:, None]
        canvas[low:edge] *= lip


def tag(
    canvas: Canvas, left: float, top: float, height: float, random: np.random.Generator
) -> None:
    """Stick a price tag on a shelf's front: paper with lines of print.

    Args:
        canvas: changed
        left: column of pixels
        top: row of pixels
        height: pixels
        random: source of its width, colours and print
    """
    width = height * between(random, (1.3, 2.4))
    rows = slice(*(int(np.clip(round(row), 0, len(canvas))) for row in (top, top + height)))
    columns = slice(
        *(int(np.clip(round(column), 0, len(canvas))) for column in (left, left + width))
    )
    paper = canvas[rows, columns]
    if paper.size:
        saturation = (0.0, 0.1) if random.random() < 0.6 else (0.6, 0.9)
        paper[:] = colour(random, saturation, (0.85, 1.0))
        print_ = random.random((paper.shape[0], 1)) < 0.4
        dark = print_ & (random.random(paper.shape[:2]) < 0.6)
        dark[:1] = dark[-1:] = False
        paper[dark] *= 0.35


def hook(canvas: Canvas, x: float, top: float, bottom: float) -> None:
    """Draw the bright metal hook from which an item hangs.

    Args:
        canvas: changed
        x: its column of pixels
        top: its first row
        bottom: the item's first row
    """
    low, high = (int(np.clip(round(row), 0, len(canvas))) for row in (top, bottom))
    width = max(1, round((bottom - top) / 5))
    left = int(np.clip(round(x - width / 2), 0, len(canvas)))
    canvas[low:high, left : left + width] = 0.75


def reflections(canvas: Canvas, random: np.random.Generator) -> None:
    """Lay the slanting bright bands of a glass door over a scene, and its frame now and then."""
    pixels = len(canvas)
    axis = np.arange(pixels, dtype=np.float32) / pixels
    slant = axis[None, :] + axis[:, None] * np.float32(between(random, (-0.5, 0.5)))
    for _ in range(2):
        middle, width = between(random, (0, 1)), between(random, (0.02, 0.12))
        band = np.clip(1 - np.abs(slant - middle) / width, 0, 1) * between(random, (0.05, 0.3))
        canvas += (1 - canvas) * band[..., None].astype(np.float32)
    if random.random() < 0.3:
        left = int(pixels * between(random, (0.1, 0.8)))
        canvas[:, left : left + max(2, pixels // 40)] = between(random, (0.1, 0.6))


def light(canvas: Canvas, style: ShelfStyle, random: np.random.Generator) -> None:
    """Light a scene: unevenly, and in the colour of its lamps."""
    axis = np.arange(len(canvas), dtype=np.float32) / len(canvas) - np.float32(0.5)
    brightness = (
        between(random, style.light)
        + between(random, (-0.3, 0.3)) * axis[:, None]
        + between(random, (-0.3, 0.3)) * axis[None, :]
    )
    warmth = between(random, style.warmth)
    cast = np.array([1 + warmth, 1 + between(random, (-0.04, 0.04)), 1 - warmth], np.float32)
    canvas *= brightness[..., None].astype(np.float32) * cast
