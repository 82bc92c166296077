"""Photos of shelves with many products, drawn by the program itself, with boxes and masks.

    scenes = draw_scenes(100, 160, seed=0, products=("bottle", "can"), style="fridge")
    scenes.photos, scenes.boxes, scenes.masks

A scene depends on the seed, its place, its products, style and side alone: the first ten of a
hundred are the ten that a call for ten draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.seeding import rng
from fedshelf.simulations.datasets.products import PRODUCTS
from fedshelf.simulations.datasets.scenes.composition import HIDDEN, ComposedScene, compose
from fedshelf.simulations.datasets.scenes.goods import draw_goods
from fedshelf.simulations.datasets.scenes.styles import SHELF_STYLES

__all__ = ["HIDDEN", "SHELF_STYLES", "DrawnScenes", "draw_scenes"]

# scenes with goods from one pool, in which each product has several designs
_SCENES_PER_POOL = 32
_DESIGNS = 8
# height of the largest item, as a share of the photo; at twice its resolution
_TALLEST_ITEM = 0.45


@dataclass(frozen=True)
class DrawnScenes:
    """N scenes.

    Attributes:
        photos: uint8 [N, S, S, 3]
        boxes: of each scene; classes are places in the products that were asked for
        masks: uint8 [N, S, S], 0 where there is no product, else its class + 1; `HIDDEN` (255)
            where too little of a product is seen to say: no loss or measure counts these pixels
        items: uint8 [N, S, S], 0 where there is no product, else the place of its box + 1;
            `HIDDEN` as in `masks`
        seen: of each scene, float32 [K], the share of the item that is seen, of each box
    """

    photos: NDArray[np.uint8]
    boxes: list[Boxes]
    masks: NDArray[np.uint8]
    items: NDArray[np.uint8]
    seen: list[NDArray[np.float32]]


def draw_scenes(
    count: int,
    side: int,
    seed: int,
    products: Sequence[str] = tuple(PRODUCTS),
    style: str = "mixed",
) -> DrawnScenes:
    """Draw photos of shelves.

    Args:
        count: number of scenes
        side: of a photo, pixels
        seed: another one gives other photos, and other designs of the same products
        products: kinds of products, keys of `PRODUCTS` (those of `shelf`)
        style: a key of `SHELF_STYLES`, or `mixed`: another one in each scene
    """
    assert style == "mixed" or style in SHELF_STYLES, style
    assert set(products) <= set(PRODUCTS), products
    pools = range(-(-count // _SCENES_PER_POOL))
    tasks = [
        (min(_SCENES_PER_POOL, count - pool * _SCENES_PER_POOL), side, seed, products, style, pool)
        for pool in pools
    ]
    scenes = [scene for drawn in map_in_order(lambda task: _draw(*task), tasks) for scene in drawn]
    masks = [_mask(scene) for scene in scenes]
    empty = np.zeros((0, side, side), np.uint8)
    return DrawnScenes(
        np.stack([scene.photo for scene in scenes]) if scenes else empty[..., None].repeat(3, -1),
        [scene.boxes for scene in scenes],
        np.stack(masks) if scenes else empty,
        np.stack([scene.items for scene in scenes]) if scenes else empty,
        [scene.seen for scene in scenes],
    )


def _draw(
    count: int, side: int, seed: int, products: Sequence[str], style: str, pool: int
) -> list[ComposedScene]:
    address = ("shelf-scenes", ",".join(products), style, side, pool)
    pixels = max(8, round(_TALLEST_ITEM * 2 * side))
    goods = draw_goods(products, _DESIGNS, pixels, rng(seed, *address))
    scenes = []
    for place in range(count):
        random = rng(seed, *address, place)
        name = list(SHELF_STYLES)[int(random.integers(len(SHELF_STYLES)))]
        scenes.append(
            compose(goods, SHELF_STYLES[name if style == "mixed" else style], side, random)
        )
    return scenes


def _mask(scene: ComposedScene) -> NDArray[np.uint8]:
    """Return the class + 1 at each pixel."""
    table = np.zeros(HIDDEN + 1, np.uint8)
    table[1 : len(scene.boxes) + 1] = scene.boxes.classes + 1
    table[HIDDEN] = HIDDEN
    return table[scene.items]
