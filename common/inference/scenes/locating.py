"""The boxes of a whole photo: first from all of it, then from tiles if its products are small.

A locator is trained on scenes squeezed to its square, where a typical product takes a fifth of the
side. On a photo of a long shelf products are smaller, and are found in tiles of it.
"""

from statistics import median

import numpy as np
from PIL import Image

from fedshelf.common.images.decoding.decode import squeeze
from fedshelf.common.inference.locators.box_predictor import BoxPredictor
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.tiles import PhotoTile, cut_tiles, merge_tiles

USUAL_SCORE = 0.3
"""Score from which on a box counts, unless something else is asked for."""

MAX_TILES = 8
"""Most tiles in a row."""

TYPICAL_SHARE = 0.2
"""Side of a typical product, as a share of the side of the view in which it is found best."""

_SMALL_SHARE = 0.12  # 95% of the boxes on drawn scenes are larger


def locate_scene(
    locator: BoxPredictor, photo: Image.Image, tiles: int | None = None, score: float = USUAL_SCORE
) -> Boxes:
    """Return the boxes on a photo in its pixels, the surest first.

    Args:
        locator: finds them
        photo: RGB, upright
        tiles: in a row and in a column, as `cut_tiles` cuts them; 1: the photo is looked at as a
            whole; None: as `needed_tiles` says
        score: below which boxes are left out
    """
    whole = [PhotoTile(0, 0, *photo.size)]
    found = _views(locator, photo, whole)
    count = tiles or needed_tiles(locator, photo, found[0].select(found[0].scores >= score))
    if count > 1:
        parts = cut_tiles(*photo.size, count)
        whole, found = parts, _views(locator, photo, parts)
    merged = merge_tiles(whole, found, *photo.size)
    return merged.select(merged.scores >= score)


def needed_tiles(locator: BoxPredictor, photo: Image.Image, found: Boxes) -> int:
    """Return the tiles in a row that a photo needs, by the boxes found on the whole of it.

    It needs tiles if half of the boxes are smaller than an eighth of the side, and the photo has
    the pixels to see more: then as many as make a typical one a fifth of a tile's side.
    """
    side = locator.pixel_format.image_size
    most = min(MAX_TILES, min(photo.size) // side)
    if most < 2 or not len(found):
        return 1
    area = photo.width * photo.height
    share = median(float(np.sqrt(box / area)) for box in found.areas)
    if share >= _SMALL_SHARE:
        return 1
    return max(1, min(most, round(TYPICAL_SHARE / share)))


def _views(locator: BoxPredictor, photo: Image.Image, tiles: list[PhotoTile]) -> list[Boxes]:
    """Return the boxes in each tile, in its pixels."""
    form = locator.pixel_format
    found = []
    for tile in tiles:
        part = photo.crop((tile.left, tile.top, tile.right, tile.bottom))
        [boxes] = locator.locate(squeeze(part, form)[None])
        width, height = tile.size
        found.append(boxes.scaled(width / form.image_size, height / form.image_size))
    return found
