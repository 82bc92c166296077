"""The boxes of a whole photo: of all of it, or of tiles if its products are small.

A locator finds products of the size that it was trained on. On a photo of a long shelf they are
smaller, and it takes groups of them for one, or finds none; where tiles are too small, it takes
parts of a product for one. It is least sure of both. So the photo is looked at as a whole, then in
2 by 2 tiles, and so on until the share of sure ones among all boxes falls; the best view counts.

On photos of 9, 36 and 81 products put together from drawn shelves, the share had its peak at the
right number of tiles or one more (docs/log.md).
"""

import numpy as np
from PIL import Image

from fedshelf.common.images.decoding.decode import squeeze
from fedshelf.common.inference.locators.box_predictor import LEAST_SCORE, BoxPredictor
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.tiles import OVERLAP, PhotoTile, cut_tiles, merge_tiles

USUAL_BOX_SCORE = 0.3
"""Score from which on a box counts, where neither the model nor anybody says otherwise."""

MAX_TILES = 8
"""Most tiles in a row."""

_SURE = 0.5  # score of the boxes that speak for a view
# share of sure boxes below which a fall says nothing: on a photo of 752 products the shares of the
# first four views were 0, 2, 1 and 1%, the best one 11% (docs/log.md)
_TELLING_SHARE = 0.1


def locate_scene(
    locator: BoxPredictor, photo: Image.Image, tiles: int | None = None, score: float | None = None
) -> Boxes:
    """Return the boxes on a photo in its pixels, the surest first.

    Args:
        locator: finds them
        photo: RGB, upright
        tiles: in a row and in a column, as `cut_tiles` cuts them; 1: the photo is looked at as a
            whole; None: as many as make the boxes sure
        score: below which boxes are left out; None: see `counting_score`
    """
    if tiles is None:
        parts, found = _surest_view(locator, photo)
    else:
        parts = cut_tiles(*photo.size, tiles)
        found = _views(locator, photo, parts)
    merged = merge_tiles(parts, found, *photo.size)
    least = counting_score(locator) if score is None else score
    return merged.select(merged.scores >= least)


def counting_score(locator: BoxPredictor) -> float:
    """Return the score from which on a locator's boxes count.

    It is the one with which the run's counts of validation photos were best, which the model
    carries.
    """
    counting = (locator.description.provenance or {}).get("counting")
    threshold = counting.get("threshold") if isinstance(counting, dict) else None
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        return USUAL_BOX_SCORE
    return max(float(threshold), LEAST_SCORE)


def _surest_view(locator: BoxPredictor, photo: Image.Image) -> tuple[list[PhotoTile], list[Boxes]]:
    """Return the tiles of a photo in which boxes are surest, and the boxes in each."""
    best: tuple[list[PhotoTile], list[Boxes]] = ([], [])
    largest = -1.0
    for count in range(1, _most_tiles(photo, locator.pixel_format.image_size) + 1):
        parts = cut_tiles(*photo.size, count)
        found = _views(locator, photo, parts)
        share = _sure_share(found)
        if share < largest and largest >= _TELLING_SHARE:
            break
        if share > largest:
            best, largest = (parts, found), share
    return best


def _most_tiles(photo: Image.Image, side: int) -> int:
    """Return the most tiles in a row that are not smaller than a locator's square."""
    return max(1, min(MAX_TILES, int((min(photo.size) / side - OVERLAP) / (1 - OVERLAP) + 1e-9)))


def _sure_share(found: list[Boxes]) -> float:
    """Return the share of sure boxes among all that are told."""
    scores = np.concatenate([boxes.scores for boxes in found])
    return float((scores >= _SURE).mean()) if len(scores) else 0.0


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
