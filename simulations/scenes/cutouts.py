"""A product cut out of its photo: what lies within a plain margin."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from fedshelf.simulations.datasets.scenes.goods import trim

_MARGIN_SHARE = 0.03  # of the photo's sides: the ring in which the background is seen
_PLAIN_SHARE = 0.85  # of the ring must be of one colour
_NEAR = 32.0  # distance of colours in 0..255 RGB: shadows and JPEG are nearer, products farther
_SMALLEST_SHARE = 0.04  # of the photo: less is a speck
_LARGEST_SHARE = 0.92
# of a product whose outer 2% (of the photo's side) are taken off: less is what a leak has left of a
# product as pale as its margin
_SOLID_SHARE = 0.6
_RIND_SHARE = 0.02
_PART_SHARE = 0.2  # of all that is no background: smaller parts are specks, larger ones a pair
_MOST_PARTS = 3

NOT_PLAIN = "without a plain margin"
NOT_WHOLE = "of products as pale as their margin, or cut by the photo's edge"


def cut_out(photo: NDArray[np.uint8]) -> NDArray[np.uint8] | str:
    """Return a product with its opacity, or why it cannot be cut out.

    The background is all that is near in colour to the margin, and reached from it without leaving
    that colour: white print on a product stays.

    Args:
        photo: uint8 [H, W, 3]

    Returns:
        uint8 [h, w, 4], without an empty margin; or the reason in a few words
    """
    height, width = photo.shape[:2]
    depth = max(1, round(_MARGIN_SHARE * min(height, width)))
    ring = np.zeros((height, width), np.bool_)
    ring[:depth] = ring[-depth:] = True
    ring[:, :depth] = ring[:, -depth:] = True
    colours = photo.astype(np.float32)
    background = np.median(colours[ring], axis=0)
    is_near = np.square(colours - background).sum(axis=2) < _NEAR**2
    if is_near[ring].mean() < _PLAIN_SHARE:
        return NOT_PLAIN
    return cut_along(photo, ~_reached(is_near, ring & is_near))


def cut_along(photo: NDArray[np.uint8], products: NDArray[np.bool_]) -> NDArray[np.uint8] | str:
    """Return the product of a photo whose pixels are known, or why it cannot be cut out.

    Args:
        photo: uint8 [H, W, 3]
        products: bool [H, W], pixels that are of products; specks among them are left out

    Returns:
        as `cut_out`
    """
    height, width = photo.shape[:2]
    product = _main_parts(products)
    share = product.mean()
    if not _SMALLEST_SHARE <= share <= _LARGEST_SHARE:
        return NOT_WHOLE
    # threads and straps of shadow go, and the pixels at its edge that are half background
    whole = Image.fromarray(product.astype(np.uint8) * 255)
    thick = whole.filter(ImageFilter.MinFilter(7)).filter(ImageFilter.MaxFilter(9))
    shape = ImageChops.darker(whole, thick)
    opacity = np.asarray(shape.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.BoxBlur(1)))
    rind = 2 * round(_RIND_SHARE * min(height, width)) + 1
    if np.asarray(shape.filter(ImageFilter.MinFilter(rind))).mean() < _SOLID_SHARE * 255 * share:
        return NOT_WHOLE
    return trim(np.dstack([photo, opacity]))


def _main_parts(product: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the large connected parts: a pair of shoes has two."""
    rest = product.copy()
    parts = np.zeros_like(product)
    for _ in range(_MOST_PARTS):
        part = _reached(rest, _deepest(rest) & rest)
        if part.sum() < max(1.0, _PART_SHARE * product.sum()):
            break
        parts |= part
        rest &= ~part
    return parts


def _deepest(shape: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels farthest from all that is outside."""
    picture = Image.fromarray(shape.astype(np.uint8))
    while True:
        inner = picture.filter(ImageFilter.MinFilter(5))
        if not np.asarray(inner).any():
            return np.asarray(picture) > 0
        picture = inner


def _reached(allowed: NDArray[np.bool_], start: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels that are reached from `start` by steps to neighbours that are allowed."""
    reached = start
    count = -1
    while count != (now := int(reached.sum())):
        count = now
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= grown[:, :-1]
        grown[:, :-1] |= grown[:, 1:]
        reached = grown & allowed
    return reached
