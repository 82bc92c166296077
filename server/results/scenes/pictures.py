"""Small photos, and the pixels of a mask on them, as text that a page can hold."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedshelf.server.results.scenes.judging import MISSED, RIGHT, WRONG

MAX_BYTES = 600_000  # of all photos of a page
SIDES_PIXELS = (320, 240, 160, 96)  # of a photo, the largest with which all of them fit
JPEG_QUALITY = 80
OVERLAY_PIXELS = 320  # the least side of an overlay, so that its stripes are seen
STRIPE_PIXELS = 4
# Okabe and Ito, "Color Universal Design" (2008), with an opacity of 0 to 255; the page's legend and
# its boxes have the same colours (report/scenes/scenes.css)
COLOURS = {
    RIGHT: (0, 114, 178, 110),
    MISSED: (230, 159, 0, 235),
    WRONG: (204, 121, 167, 235),
}


def encoded_photos(photos: Sequence[NDArray[np.uint8]]) -> list[str]:
    """Return photos as addresses of JPEG files that hold their data ("data:image/jpeg;...").

    They are made smaller until all of them have at most `MAX_BYTES`, or the least side.

    Args:
        photos: uint8 [S, S, channels] each
    """
    for side in SIDES_PIXELS:
        texts = [_encoded(_small(photo, side), "jpeg") for photo in photos]
        if sum(map(len, texts)) <= MAX_BYTES:
            break
    return texts


def encoded_overlay(outcomes: NDArray[np.uint8]) -> str:
    """Return a picture of the outcomes of pixels, to lie on the photo, as such an address.

    Right ones have a plain colour, missed ones stripes that fall to the right, wrong ones stripes
    that rise: so they differ without colours, too.

    Args:
        outcomes: uint8 [S, S] of `pixel_outcomes`
    """
    factor = -(-OVERLAY_PIXELS // len(outcomes))
    large = outcomes.repeat(factor, 0).repeat(factor, 1)
    down, across = np.indices(large.shape)
    is_gap = {
        MISSED: (across - down) // STRIPE_PIXELS % 2 == 0,
        WRONG: (across + down) // STRIPE_PIXELS % 2 == 0,
    }
    for kind, gap in is_gap.items():
        large[(large == kind) & gap] = 0
    picture = Image.fromarray(large)
    kinds = range(WRONG + 1)
    picture.putpalette([part for kind in kinds for part in COLOURS.get(kind, (0, 0, 0))[:3]])
    opacities = bytes(COLOURS[kind][3] if kind in COLOURS else 0 for kind in kinds)
    return _encoded(picture, "png", transparency=opacities, optimize=True)


def _small(photo: NDArray[np.uint8], side: int) -> Image.Image:
    """Return a photo of at most `side` pixels a side, never a larger one."""
    picture = Image.fromarray(photo[..., 0] if photo.shape[2] == 1 else photo)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture


def _encoded(picture: Image.Image, kind: str, **options: object) -> str:
    file = io.BytesIO()
    if kind == "jpeg":
        options = {"quality": JPEG_QUALITY, "optimize": True}
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
