"""Conversion of decoded pixels to the pixel format of a run."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fedshelf.common.images.decoding.decode import PixelFormat


def convert(pixels: NDArray[np.uint8], form: PixelFormat) -> NDArray[np.uint8]:
    """Resize, change channels and denoise as `common.images.decoding.decode` does.

    Args:
        pixels: uint8 [n, height, width, channels]
        form: the pixel format wanted, of side S with C channels

    Returns:
        Uint8 [n, S, S, C].
    """
    if pixels.shape[1:] == form.shape and not form.denoise:
        return pixels
    return np.stack([*map(partial(_convert, form=form), pixels)])


def _convert(pixels: NDArray[np.uint8], form: PixelFormat) -> NDArray[np.uint8]:
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert(
        form.mode
    )
    image = image.resize((form.image_size, form.image_size), Image.Resampling.BILINEAR)
    if form.denoise:
        image = image.filter(ImageFilter.MedianFilter(form.denoise))
    return np.asarray(image, dtype=np.uint8).reshape(form.shape)
