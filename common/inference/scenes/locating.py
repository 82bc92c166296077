"""The boxes of a whole photo: of all of it, or of tiles if its products are small.

A locator finds products of the size that it was trained on. On a photo of a long shelf they are
smaller, and it takes groups of them for one, or finds none; where tiles are too small, it takes
parts of a product for one. It is least sure of both. So the photo is looked at as a whole, in 2 by
2 tiles, in 3 by 3 and so on, and the view with the largest share of sure ones among all boxes
counts. At most nine tiles, spread over the photo, tell a view's share; only the view that counts is
looked at in all its tiles.

The share rises and falls by chance where a few groups are taken for products, so the search ends
early only if it was large, and then smaller in two views one after the other. On made shelves of 8
to 1,100 products it chose views with an AP50 within a few points of the best one (docs/log.md).
"""

import numpy as np
from PIL import Image

from fedshelf.common.images.decoding.decode import squeeze
from fedshelf.common.inference.locators.box_predictor import LEAST_SCORE, BoxPredictor
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.tiles import (
    OVERLAP,
    PhotoTile,
    cut_tiles,
    merge_tiles,
    spread_tiles,
)

USUAL_BOX_SCORE = 0.3
"""Score from which on a box counts, where neither the model nor anybody says otherwise."""

MAX_TILES = 12
"""Most tiles in a row."""

_SURE = 0.5  # score of the boxes that speak for a view
_FURTHER_BOXES = 2  # unsure ones, counted in addition: a single sure box says little
_TELLING_SHARE = 0.4  # of sure boxes, from which on smaller ones end the search
_SMALLER_VIEWS = 2  # one after the other, that end it


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
    tiles: list[PhotoTile] = []
    known: dict[int, Boxes] = {}
    largest, smaller_views = -1.0, 0
    for count in range(1, _most_tiles(photo, locator.pixel_format.image_size) + 1):
        parts = cut_tiles(*photo.size, count)
        places = spread_tiles(count)
        found = _views(locator, photo, [parts[place] for place in places])
        share = _sure_share(found)
        if share > largest:
            tiles, known = parts, dict(zip(places, found, strict=True))
            largest, smaller_views = share, 0
            continue
        smaller_views += 1
        if smaller_views >= _SMALLER_VIEWS and largest >= _TELLING_SHARE:
            break
    others = [place for place in range(len(tiles)) if place not in known]
    found = _views(locator, photo, [tiles[place] for place in others])
    known |= dict(zip(others, found, strict=True))
    return tiles, [known[place] for place in range(len(tiles))]


def _most_tiles(photo: Image.Image, side: int) -> int:
    """Return the most tiles in a row that are not smaller than a locator's square."""
    return max(1, min(MAX_TILES, int((min(photo.size) / side - OVERLAP) / (1 - OVERLAP) + 1e-9)))


def _sure_share(found: list[Boxes]) -> float:
    """Return the share of sure boxes among all that are told, and two more."""
    scores = np.concatenate([boxes.scores for boxes in found])
    return float((scores >= _SURE).sum() / (len(scores) + _FURTHER_BOXES))


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
