"""Drawing of products on a shelf, many pictures at once, with the same pixels on every machine.

A shape is a signed distance, negative inside, from which its edge is smoothed over one pixel; see
I. Quilez, "2D distance functions", iquilezles.org/articles/distfunctions2d. Only operations that
IEEE 754 rounds exactly (+ - * / sqrt) are used, and no reductions, so no library or processor can
change a pixel.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.simulations.datasets.products import PRODUCTS, Product

Array = NDArray[Any]
"""float32: [n, 1, 1] for a number per picture, [n, S, S] for a plane, [n, S, S, 3] for a picture in
0..1.
"""


@dataclass(frozen=True)
class Dice:
    """Uniform random numbers for `n` pictures."""

    n: int
    random: np.random.Generator

    def between(self, low: float, high: float) -> Array:
        """Draw one number a picture: float32 [n, 1, 1]."""
        return self.random.random((self.n, 1, 1), dtype=np.float32) * (high - low) + low

    def chance(self, probability: float) -> Array:
        """Draw 1 with this probability, else 0: float32 [n, 1, 1]."""
        return (self.between(0, 1) < probability).astype(np.float32)

    def colour(self, saturation: tuple[float, float], value: tuple[float, float]) -> Array:
        """Draw one colour a picture, of any hue: float32 [n, 1, 1, 3]."""
        hue = self.between(0, 6)
        s = self.between(*saturation)
        v = self.between(*value)
        channels = []
        for offset in (5, 3, 1):  # the HSV cone, one channel at a time
            k = (hue + offset) % 6
            channels.append(v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1))
        return np.stack(channels, axis=-1)


def draw(name: str, n: int, size: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw pictures of one product on shelves.

    Args:
        name: the product, a key of `PRODUCTS`
        n: number of pictures
        size: side of a picture, pixels
        random: source of all variation

    Returns:
        Uint8 [n, size, size, 3].
    """
    dice = Dice(n, random)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    # y runs upwards from the foot
    x, y = np.broadcast_arrays(axis[None, None, :], 1 - axis[None, :, None])
    board = dice.between(0.07, 0.15)
    picture = _shelf(x, y, board, dice)
    picture = _stand(picture, PRODUCTS[name], x, y, board, dice)
    picture = _cover(picture, x, y, dice)
    return _photograph(picture, x, y, dice)


def _mix(under: Array, over: Array, share: Array) -> Array:
    """Lay colours over a picture where `share` [n, S, S] is 1."""
    mixed: Array = under + (over - under) * share[..., None]
    return mixed


def fill(distance: Array, pixel: Array | float) -> Array:
    """Return the share (0..1) of each pixel that a shape covers, from its signed distance."""
    return np.clip(0.5 - distance / pixel, 0, 1)


def _slab(value: Array, low: Array | float, high: Array | float) -> Array:
    """Return the signed distance to the strip between two values."""
    return np.maximum(low - value, value - high)


def _ellipse(x: Array, y: Array, a: Array | float, b: Array | float) -> Array:
    """Return the approximate signed distance to an ellipse about the origin, half-axes a and b."""
    distance: Array = (np.sqrt((x / a) ** 2 + (y / b) ** 2) - 1) * np.minimum(a, b)
    return distance


def _dashes(along: Array, period: Array, duty: Array) -> Array:
    """Return 1 on dashes of a line, 0 in the gaps."""
    return ((along / period) % 1 < duty).astype(np.float32)


def _shelf(x: Array, y: Array, board: Array, dice: Dice) -> Array:
    """Draw the back wall, blurred goods behind, and the board on which the product stands."""
    pixel = 1 / x.shape[-1]
    wall = dice.colour((0.0, 0.2), (0.75, 1.0)) * (0.8 + 0.2 * y)[..., None]
    picture = wall
    for _ in range(3):
        left = dice.between(-0.2, 1.0)
        width = dice.between(0.1, 0.35)
        top = dice.between(0.4, 1.1)
        distance = np.maximum(_slab(x, left, left + width), y - top)
        goods = dice.colour((0.05, 0.35), (0.6, 0.95))
        picture = _mix(picture, goods, fill(distance, 6 * pixel) * dice.chance(0.6) * 0.7)
    wood = (
        dice.colour((0.0, 0.35), (0.55, 0.95)) * (1 - 1.5 * np.clip(board - y, 0, 0.3))[..., None]
    )
    return _mix(picture, wood, fill(y - board, pixel))


def _stand(picture: Array, product: Product, x: Array, y: Array, board: Array, dice: Dice) -> Array:
    """Put one product on the board: leaning a little, of any size and colour, with its shadow."""
    scale = dice.between(0.8, 0.94)
    height = scale * product.height * dice.between(0.93, 1.06)
    breadth = dice.between(0.88, 1.14)
    # tan(angle / 2): sine and cosine without a library's rounding
    half_turn = dice.between(-0.08, 0.08)
    cosine = (1 - half_turn**2) / (1 + half_turn**2)
    sine = 2 * half_turn / (1 + half_turn**2)
    dx = x - dice.between(0.45, 0.55)
    dy = y - (board - dice.between(0.0, 0.06))
    u = (dx * cosine + dy * sine) / (scale * breadth)
    v = (dy * cosine - dx * sine) / height
    pixel = 1 / (x.shape[-1] * scale)

    foot = product.outline[0][1]
    shadow = fill(_ellipse(u, dy / scale + 0.01, foot + 0.12, dice.between(0.04, 0.08)), 4 * pixel)
    picture = picture * (1 - 0.55 * shadow)[..., None]

    body, inside = surface(product, u, v, pixel, dice)
    return _mix(picture, body, fill(inside, pixel))


def surface(
    product: Product, u: Array, v: Array, pixel: Array | float, dice: Dice
) -> tuple[Array, Array]:
    """Draw the surface of a product, in each picture of a design of its own.

    Args:
        product: the kind of product
        u: position from its middle to the right, [n, H, W], in the product's frame
        v: position from its foot (0) to its top (1), [n, H, W]
        pixel: side of a pixel in the product's frame
        dice: n pictures

    Returns:
        The colours, [n, H, W, 3], and the signed distance to the outline, [n, H, W].
    """
    half = _half_width(v, product, dice)
    inside = np.maximum(np.abs(u) - half, _slab(v, 0, 1) * product.height)
    if product.crimp:
        pleats = np.abs((u * 18) % 1 - 0.5) * 0.05
        inside = inside + pleats * (_slab(v, product.crimp, 1 - product.crimp) > 0)
    body = _paint(product, u, v, half, pixel, dice)
    if product.rim:
        body, inside = _close(body, inside, product, u, v, pixel, dice)
    return body, inside


def _half_width(v: Array, product: Product, dice: Dice) -> Array:
    """Return the half-width of the outline at each height.

    Each corner varies a little between pictures.
    """
    heights, widths = zip(*product.outline, strict=True)
    corners = [width * dice.between(0.93, 1.07) for width in widths]
    half: Array = corners[0] + np.zeros_like(v)
    for index in range(1, len(corners)):
        step = np.clip((v - heights[index - 1]) / (heights[index] - heights[index - 1]), 0, 1)
        if product.soft:
            step = step * step * (3 - 2 * step)
        half = half + step * (corners[index] - corners[index - 1])
    return half


def _paint(
    product: Product, u: Array, v: Array, half: Array, pixel: Array | float, dice: Dice
) -> Array:
    """Return the colours of the body.

    It has a base, stripes, a label with marks like print, a cap, and the light on its form.
    """
    within = partial(fill, pixel=pixel)
    base = dice.colour((0.5, 1.0), (0.25, 0.8))
    second = dice.colour((0.3, 1.0), (0.15, 0.9))
    slope = dice.between(-1.2, 1.2) * dice.chance(0.5)
    stripes = _dashes(v + slope * u, dice.between(0.12, 0.4), dice.between(0.3, 0.6)) * dice.chance(
        0.25
    )
    body = _mix(base + np.zeros_like(u)[..., None], second, stripes)

    low, high = (height + dice.between(-0.06, 0.06) for height in product.label)
    inset = half * dice.between(0.6, 1.05)
    label = within(np.maximum(_slab(v, low, high), np.abs(u) - inset)) * dice.chance(0.75)
    body = _mix(body, dice.colour((0.0, 0.5), (0.6, 1.0)), label)
    ink = dice.colour((0.0, 1.0), (0.05, 0.6))
    for line in range(3):
        at = low + (high - low) * (0.25 + 0.25 * line)
        text = within(_slab(v, at - 0.03, at + 0.03)) * _dashes(
            u + dice.between(0, 1), dice.between(0.06, 0.16), dice.between(0.5, 0.9)
        )
        body = _mix(body, ink, text * label * (np.abs(u) < inset * 0.8) * dice.chance(0.7))
    if product.cap:
        body = _mix(body, dice.colour((0.0, 0.9), (0.15, 1.0)), within(_slab(v, *product.cap)))

    across = u / np.maximum(half, 0.02)
    light = dice.between(-0.5, 0.5)
    if product.turned:
        shade = np.clip(1.12 - 0.42 * (across - light) ** 2, 0.35, 1.2)
    else:
        edge = np.where(light > 0, across - light - 0.2, light - 0.2 - across)
        shade = 1 - 0.38 * within(-edge * half)
    return body * shade[..., None]


def _close(
    body: Array,
    inside: Array,
    product: Product,
    u: Array,
    v: Array,
    pixel: Array | float,
    dice: Dice,
) -> tuple[Array, Array]:
    """Add the ellipse at the top, seen from a little above: a metal lid, or an opening.

    Returns:
        The colours of the body, and the signed distance to its outline.
    """
    across = product.outline[-1][1] * dice.between(0.95, 1.05)
    depth = product.rim * dice.between(0.6, 1.3) * product.height
    rise = (v - 1) * product.height
    ring = _ellipse(u, rise, across, depth)
    mouth = _ellipse(u, rise, across * 0.86, depth * 0.72)
    grey = (0.15, 0.4) if product.opening else (0.6, 0.95)
    body = _mix(body, dice.colour((0.0, 0.15), (0.6, 1.0)), fill(ring, pixel))
    body = _mix(body, dice.colour((0.0, 0.3), grey), fill(mouth, pixel))
    return body, np.minimum(inside, ring)


def _cover(picture: Array, x: Array, y: Array, dice: Dice) -> Array:
    """Draw the obstacles: a neighbour at the side, a price tag on the board's edge."""
    pixel = 1 / x.shape[-1]
    side = dice.chance(0.5)
    width = dice.between(0.08, 0.3)
    near = np.where(side > 0, 1 - x, x)
    neighbour = np.maximum(near - width, y - dice.between(0.3, 1.0))
    shaded = dice.colour((0.2, 0.9), (0.3, 0.95)) * (0.75 + near / 2)[..., None]
    picture = _mix(picture, shaded, fill(neighbour, pixel) * dice.chance(0.25))
    left = dice.between(0.05, 0.65)
    low = dice.between(-0.02, 0.06)
    tag = np.maximum(
        _slab(x, left, left + dice.between(0.18, 0.3)),
        _slab(y, low, low + dice.between(0.08, 0.13)),
    )
    paper = dice.colour((0.0, 0.9), (0.8, 1.0))
    return _mix(picture, paper, fill(tag, pixel) * dice.chance(0.4))


def _photograph(picture: Array, x: Array, y: Array, dice: Dice) -> NDArray[np.uint8]:
    """Apply the effects of a phone's camera: uneven light, a colour cast, noise."""
    light = (
        dice.between(0.75, 1.1)
        + dice.between(-0.25, 0.25) * (x - 0.5)
        + dice.between(-0.25, 0.25) * (y - 0.5)
    )
    cast = np.stack(
        [dice.between(0.88, 1.08), dice.between(0.94, 1.04), dice.between(0.85, 1.08)], axis=-1
    )
    picture = picture * light[..., None] * cast
    grain = dice.random.random(picture.shape, dtype=np.float32) + dice.random.random(
        picture.shape, dtype=np.float32
    )
    picture = picture + (grain - 1) * dice.between(0.02, 0.07)[..., None]
    pixels: NDArray[np.uint8] = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return pixels
