"""Quality measures of one photo: a handful of numbers, enough to judge it without keeping its
pixels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fedshelf.common.images.decoding.decode import PixelFormat, decode
from fedshelf.common.images.decoding.picture import upright_size

SIDE = 256  # pixels: a blur of half a percent of the side still shows, and decoding stays cheap
_TINY = 16  # pixels: the smallest square that tells photos of different things apart
_SMEAR = 4  # pixels to either side: the window of nine of Crete et al.

Pixels = NDArray[np.uint8]


class ImageQuality(NamedTuple):
    """Quality measures of one photo, upright.

    Attributes:
        width, height: Pixels.
        light: 0 to 255: 98th percentile of the pixels' brightest channel.
        burnt: 0 to 1, share of the middle of the photo that is pure white.
        contrast: 0 to 255, between the darkest and the brightest 2% of the pixels.
        soft: Pixels of `SIDE`, spread of the steepest edges.
        smear: 0 to 1, blur along the worse axis.
        tiny: Uint8 [16, 16, 3], the photo itself, squeezed to a square.
    """

    width: int
    height: int
    light: float
    burnt: float
    contrast: float
    soft: float
    smear: float
    tiny: Pixels


def measure_quality(data: bytes) -> ImageQuality:
    """Measure a photo. Raises NotUsableError with the reason if training could not use it
    either.
    """
    width, height = upright_size(data) or (SIDE, SIDE)
    # A small photo is measured at its own size: enlarged, it would count as blurred.
    pixels = decode(data, PixelFormat(max(_TINY, min(SIDE, width, height))))
    low, high = np.percentile(_grey(pixels), (2, 98))
    edge = len(pixels) // 4
    # pixels.max(axis=2) takes 20 times as long
    red, green, blue = (pixels[..., channel] for channel in range(3))
    brightest = np.maximum(np.maximum(red, green), blue)
    darkest = np.minimum(np.minimum(red, green), blue)
    return ImageQuality(
        width,
        height,
        light=float(np.percentile(brightest, 98)),
        burnt=float((darkest[edge:-edge, edge:-edge] >= 250).mean()),
        contrast=float(high - low),
        soft=softness(pixels),
        smear=smear(pixels),
        tiny=np.asarray(Image.fromarray(pixels).resize((_TINY, _TINY), Image.Resampling.BOX)),
    )


def softness(pixels: Pixels) -> float:
    """Return the spread (standard deviation, pixels) of the steepest edges of uint8 [S, S, 3]; 0
    without edges.

    A step blurred by a Gaussian of spread s has a largest slope g and a largest second derivative
    g exp(-1/2) / s; their quotient gives s. Unlike the variance of the Laplacian, this does not
    mistake plain cloth for a blurred photo.
    """
    grey = _grey(pixels)
    inner = grey[1:-1, 1:-1]
    bend = np.abs(grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner)
    slope = np.hypot(grey[1:-1, 2:] - grey[1:-1, :-2], grey[2:, 1:-1] - grey[:-2, 1:-1]) / 2
    steepest = np.percentile(slope, 99.5)
    sharpest = np.percentile(bend, 99.5)
    return float(np.exp(-0.5) * steepest / sharpest) if sharpest else 0.0


def smear(pixels: Pixels) -> float:
    """Return the blur of uint8 [S, S, 3] along its worse axis, 0 to 1.

    Source: Crete et al. 2007, SPIE 6492, equations 1 to 6. Along each axis: the share of the
    differences between neighbours that stays when the photo is averaged over nine pixels. A photo
    that a shaken camera has smeared has little left to lose. 0 for a photo without differences.
    """
    grey = Image.fromarray(pixels).convert("L")
    sharp = np.asarray(grey, dtype=np.int16)
    shares = [0.0]
    for axis, radius in enumerate(((0, _SMEAR), (_SMEAR, 0))):
        smeared = np.asarray(grey.filter(ImageFilter.BoxBlur(radius)), dtype=np.int16)
        differences = np.abs(np.diff(sharp, axis=axis))
        lost = np.maximum(differences - np.abs(np.diff(smeared, axis=axis)), 0)
        if total := int(differences.sum(dtype=np.int64)):
            shares.append(1 - int(lost.sum(dtype=np.int64)) / total)
    return max(shares)


def _grey(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32)
