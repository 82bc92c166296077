"""Goods that stand on a shelf: pictures of single products, drawn without a background."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.simulations.datasets.drawing import Dice, fill, surface
from fedshelf.simulations.datasets.products import PRODUCTS

# products wider than this share of a shelf's height are made smaller as a whole
_WIDEST = 0.95
# largest value of `Product.rim * height` with its variation, and a leaning product's corner
_ROOM_ABOVE = 0.3


@dataclass(frozen=True)
class Good:
    """One design of a product.

    Attributes:
        label: its class
        picture: uint8 [h, w, 4], red, green, blue, and opacity; without an empty margin
        height: of the product, as a share of the room on a shelf
    """

    label: int
    picture: NDArray[np.uint8]
    height: float


def draw_goods(
    names: Sequence[str], designs: int, pixels: int, random: np.random.Generator
) -> list[Good]:
    """Draw several designs of each product: its form is that of `shelf`, its colours are new.

    Args:
        names: products, keys of `PRODUCTS`; a label is a place among them
        designs: number of designs of each product
        pixels: height of the largest product
        random: source of all variation
    """
    return [
        good
        for label, name in enumerate(names)
        for good in _draw_designs(label, name, designs, pixels, random)
    ]


def _draw_designs(
    label: int, name: str, designs: int, pixels: int, random: np.random.Generator
) -> list[Good]:
    product = PRODUCTS[name]
    dice = Dice(designs, random)
    widest = 2 * max(width for _, width in product.outline)
    scale = min(1.0, _WIDEST / widest)
    # the frame is `scale` of the shelf's height; its pixels are as large as all others
    pixel = 1 / (scale * pixels)
    half = np.float32(widest / 2 * 1.2 + 0.12)
    columns = np.arange(-half, half, pixel, dtype=np.float32)
    rows = np.arange(product.height + _ROOM_ABOVE, -_ROOM_ABOVE / 2, -pixel, dtype=np.float32)
    # tan(angle / 2), as in `drawing`
    half_turn = dice.between(-0.03, 0.03)
    cosine = (1 - half_turn**2) / (1 + half_turn**2)
    sine = 2 * half_turn / (1 + half_turn**2)
    x, y = columns[None, None, :], rows[None, :, None]
    u = (x * cosine + y * sine) / dice.between(0.9, 1.1)
    v = (y * cosine - x * sine) / (product.height * dice.between(0.95, 1.05))
    colours, inside = surface(product, u, v, pixel, dice)
    pictures = np.concatenate([colours, fill(inside, pixel)[..., None]], axis=-1)
    bytes_ = np.rint(np.clip(pictures, 0, 1) * 255).astype(np.uint8)
    goods = []
    for picture in map(trim, bytes_):
        goods.append(Good(label, picture, len(picture) / pixels))
    return goods


def trim(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut off the margins of a picture [h, w, 4] in which nothing is opaque; [0, 0, 4] if none."""
    opaque = picture[..., 3] > 127
    rows = np.flatnonzero(opaque.any(axis=1))
    columns = np.flatnonzero(opaque.any(axis=0))
    if not len(rows):
        return picture[:0, :0]
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
