"""One photo's bytes to a small square of uint8 pixels."""

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageFilter, UnidentifiedImageError

VERSION = 1  # raise it when a change here changes pixels: every cache is then built anew
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 89_478_485  # Pillow's own limit against decompression bombs: a quarter of a GiB of RGB

# EXIF orientation -> how to turn the stored pixels upright (EXIF 2.32, tag 0x0112).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Sizes are checked here, and other oddities (a malformed EXIF block) do not matter: off a person's screen with them.
warnings.filterwarnings("ignore", module=r"PIL\.")


class NotUsableError(Exception):
    """A file that is left out; its text is the reason in a few words."""


@dataclass(frozen=True)
class PixelFormat:
    """What photos are decoded to.

    image_size: pixels, side of the square
    channels:   1 (grey) or 3 (RGB)
    denoise:    pixels, side of a median filter; 0: none
    """

    image_size: int
    channels: int = 3
    denoise: int = 0

    def __post_init__(self) -> None:
        assert self.image_size >= 1, self
        assert self.channels in (1, 3), self
        assert self.denoise in (0, 3, 5), self

    @property
    def mode(self) -> Literal["L", "RGB"]:
        """Pillow's name for the channels."""
        return "L" if self.channels == 1 else "RGB"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return self.image_size, self.image_size, self.channels

    @property
    def tag(self) -> str:
        """All that decides the pixels of given bytes; another Pillow may decode and resize differently."""
        return f"{self.image_size} {self.channels} {self.denoise} decoder {VERSION} Pillow {PIL.__version__}"


def decode(data: bytes, form: PixelFormat) -> NDArray[np.uint8]:
    """Decode to uint8 [S, S, C]: upright, squeezed to a square, transparent parts white.

    The median filter works at the decoded size: it means the same for every camera's resolution,
    and it costs next to nothing. Raises NotUsableError with the reason.
    """
    if not data:
        raise NotUsableError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise NotUsableError(f"too large: {image.width} x {image.height} pixels")
            small = _upright(_square(image, form), image)
    except UnidentifiedImageError:
        raise NotUsableError("not an image") from None
    except Image.DecompressionBombError:
        raise NotUsableError("too large: a decompression bomb") from None
    except (NotUsableError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        raise NotUsableError("truncated" if "truncated" in str(error).lower() else "broken") from error
    if form.denoise:
        small = small.filter(ImageFilter.MedianFilter(form.denoise))
    return np.asarray(small, dtype=np.uint8).reshape(form.shape)


def _square(image: Image.Image, form: PixelFormat) -> Image.Image:
    """Resize to S x S in the wanted mode. JPEGs are decoded at a fraction of their size, at least twice S."""
    side = form.image_size
    image.draft(form.mode, (2 * side, 2 * side))
    image.load()
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        small = image.convert("RGBA").resize((side, side), Image.Resampling.BILINEAR)
        image = Image.new("RGBA", small.size, "white")
        image.alpha_composite(small)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    if image.mode != form.mode:
        image = image.convert(form.mode)
    return image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0)


def _upright(small: Image.Image, image: Image.Image) -> Image.Image:
    """Turn the small square instead of the large photo. An unreadable EXIF block turns nothing."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:  # a camera's malformed EXIF does not make its photo unusable
        turn = None
    return small if turn is None else small.transpose(turn)
