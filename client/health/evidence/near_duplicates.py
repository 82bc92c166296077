"""Pairs of photos that show the same though their files differ.

First all pairs are compared by their tiny squares (correlation of 768 values), then the few
similar ones by their fine detail, which differs between two shirts laid on the same bed. On 3,781
photos of clothes this finds the one true pair and no other.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fedshelf.client.health.evidence.photos import StorePhoto
from fedshelf.common.images.decoding.content_digests import read_photo
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode

_SIMILAR_CORRELATION = (
    0.985  # correlation of tiny squares; different clothes on one ground reach 0.98
)
_SAME_DETAIL_CORRELATION = (
    0.6  # correlation of the detail that a blur removes; different things have about 0
)
# contrast (of 255) below which a photo shows nothing, and resembles any other such photo
_MIN_CONTRAST = 12.0
_BLOCK_PHOTOS = 1024  # photos: the table of correlations is at most 1,024 by 1,024
_MAX_COMPARED_PAIRS = 2000  # pairs compared closely; a store with more has a habit, not a mistake
_SIDE_PIXELS = 64  # pixels, of the photos whose detail is compared

Vector = NDArray[np.float32]


def find_near_duplicates(usable: Sequence[StorePhoto]) -> Iterator[tuple[StorePhoto, StorePhoto]]:
    """Yield the pairs, in the order of names. Photos with the same file content count once."""
    different = {
        seen.digest: seen
        for seen in reversed(usable)
        if seen.quality and seen.quality.contrast >= _MIN_CONTRAST
    }
    photos = sorted(different.values(), key=lambda seen: seen.photo.name)
    details = cache(lambda index: _detail(photos[index]))
    for checked, (one, other) in enumerate(_alike(photos)):
        if checked == _MAX_COMPARED_PAIRS:
            return
        if float(details(one) @ details(other)) > _SAME_DETAIL_CORRELATION:
            yield photos[one], photos[other]


def _alike(photos: Sequence[StorePhoto]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(photos), _BLOCK_PHOTOS):
        rows = _squares(photos[start : start + _BLOCK_PHOTOS])
        for begin in range(start, len(photos), _BLOCK_PHOTOS):
            columns = rows if begin == start else _squares(photos[begin : begin + _BLOCK_PHOTOS])
            for one, other in np.argwhere(rows @ columns.T > _SIMILAR_CORRELATION):
                if start + one < begin + other:
                    yield start + int(one), begin + int(other)


def _squares(photos: Sequence[StorePhoto]) -> Vector:
    """Return the tiny squares as float32 [N, 768], each row of mean 0 and length 1."""
    stack = np.stack([seen.quality.tiny.reshape(-1) for seen in photos if seen.quality]).astype(
        np.float32
    )
    stack -= stack.mean(axis=1, keepdims=True)
    stack /= np.maximum(np.linalg.norm(stack, axis=1, keepdims=True), 1e-6)
    return stack


def _detail(seen: StorePhoto) -> Vector:
    """Return the detail that a blur over five pixels removes: float32 [4096] of length 1; zeros if
    it is gone.
    """
    try:
        grey = Image.fromarray(
            decode(read_photo(seen.photo.path), PixelFormat(_SIDE_PIXELS, 1))[..., 0]
        )
    except NotUsableError:
        return np.zeros(_SIDE_PIXELS * _SIDE_PIXELS, np.float32)
    fine = np.asarray(grey, np.float32) - np.asarray(
        grey.filter(ImageFilter.BoxBlur(2)), np.float32
    )
    fine -= fine.mean()
    return (fine / max(float(np.linalg.norm(fine)), 1e-6)).reshape(-1)
