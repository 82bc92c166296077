"""Decoding of one photo's bytes: to a small square of uint8 pixels, or in its own size."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageFilter, UnidentifiedImageError

from fedshelf.common.images.decoding import libtiff
from fedshelf.common.images.decoding.bit_depth import is_deep, to_eight_bits
from fedshelf.common.images.decoding.formats import (
    NO_IMAGE,
    TIFF_MAGIC,
    heif_version,
    missing_reader,
    possible_formats,
    without_metadata,
)
from fedshelf.common.images.decoding.limits import (
    LOCAL_LIMITS,
    Limits,
    memory_needed,
    reserve_memory,
)

MAX_WHOLE_PIXELS = 2**20  # of a JPEG that is always decoded whole
DECODER_VERSION = 3  # raise it if a change here changes pixels: every cache is then built anew

_ORIENTATION_TAG = 0x0112  # EXIF 2.32
# EXIF orientation -> how to turn the stored pixels upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Sizes are checked here, and other oddities (a malformed EXIF block) do not matter, so nobody needs
# Pillow's warnings.
warnings.filterwarnings("ignore", module=r"PIL\.")
libtiff.silence()


class NotUsableError(Exception):
    """A file that is left out; its text is the reason in a few words."""


@dataclass(frozen=True)
class PixelFormat:
    """The form to which photos are decoded.

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
        """The height, width and channels."""
        return self.image_size, self.image_size, self.channels

    @property
    def tag(self) -> str:
        """A text of all that decides the pixels of given bytes, with the decoders' versions."""
        return f"{self.image_size} {self.channels} {self.denoise} {decoder_versions()}"


def decoder_versions() -> str:
    """Return the versions of all decoders: they decide which photos can be decoded."""
    return f"decoder {DECODER_VERSION} Pillow {PIL.__version__} pi-heif {heif_version()}"


def decode(data: bytes, form: PixelFormat, limits: Limits = LOCAL_LIMITS) -> NDArray[np.uint8]:
    """Decode a photo: upright, squeezed to a square, transparent parts white.

    The median filter works at the decoded size: it means the same for every camera's resolution,
    and it costs next to nothing. Of several frames or pages the first is taken.

    Args:
        data: the photo's file
        form: the form of the pixels
        limits: to stay within them, it waits for other decodes to end

    Returns:
        uint8 [S, S, C]

    Raises:
        NotUsableError: with the reason, in a few words
    """
    if not data:
        raise NotUsableError("empty file")
    with _errors_as_reasons(data), open_photo(data) as image:
        is_webp = image.format == "WEBP"
        _check_size(image, limits)
        # Decoders of JPEG skip data that the small size does not need, but progressive JPEGs keep
        # all coefficients. A browser, or plain Pillow, does not skip any, so the pixels differ a
        # little; a small photo is quick to decode, and has the same pixels everywhere.
        full = image.width * image.height
        if full > MAX_WHOLE_PIXELS:
            image.draft(form.mode, (2 * form.image_size, 2 * form.image_size))
        pixels = full if image.info.get("progressive") else image.width * image.height
        with reserve_memory(limits, memory_needed(pixels, is_webp=is_webp)):
            small = _upright(_square(image, form), image)
    return _pixels(small, form)


def decode_whole(data: bytes, limits: Limits = LOCAL_LIMITS) -> Image.Image:
    """Decode a photo in its own size: RGB, upright, transparent parts white.

    Args:
        data: the photo's file
        limits: see `decode`

    Raises:
        NotUsableError: with the reason, in a few words
    """
    if not data:
        raise NotUsableError("empty file")
    with _errors_as_reasons(data), open_photo(data) as image:
        _check_size(image, limits)
        is_webp = image.format == "WEBP"
        with reserve_memory(limits, memory_needed(image.width * image.height, is_webp=is_webp)):
            return _upright(_plain(image, "RGB", image.size), image)


def squeeze(image: Image.Image, form: PixelFormat) -> NDArray[np.uint8]:
    """Squeeze an upright picture, such as a video's frame, to the pixels of a photo of the same.

    Returns:
        uint8 [S, S, C]
    """
    return _pixels(_square(image, form), form)


def open_photo(data: bytes) -> Image.Image:
    """Read a photo's header; pixels are decoded later.

    Raises:
        NotUsableError: a format without a reader here
        Exception: Pillow's own errors, for a file that is no photo
    """
    formats = possible_formats(data)
    if reason := missing_reader(formats):
        raise NotUsableError(reason)
    readable = without_metadata(data) if "HEIF" in formats else data
    return Image.open(io.BytesIO(readable), formats=formats)


@contextmanager
def _errors_as_reasons(data: bytes) -> Iterator[None]:
    """Turn Pillow's errors about a file into NotUsableError."""
    try:
        yield
    except UnidentifiedImageError:
        raise NotUsableError(_unidentified_reason(data)) from None
    except Image.DecompressionBombError:
        raise NotUsableError("too large: a decompression bomb") from None
    except (NotUsableError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        raise NotUsableError(
            "truncated" if "truncated" in str(error).lower() else "broken"
        ) from error


def _unidentified_reason(data: bytes) -> str:
    if data.startswith(TIFF_MAGIC):
        return "a TIFF of an unusual kind"
    return "broken" if data[4:8] == b"ftyp" and possible_formats(data) else NO_IMAGE


def _check_size(image: Image.Image, limits: Limits) -> None:
    """Raise NotUsableError if a photo whose header was read is too large."""
    is_costly = image.format == "WEBP" or image.has_transparency_data
    if reason := limits.rejection_reason(image.width, image.height, is_costly=is_costly):
        raise NotUsableError(reason)


def _square(image: Image.Image, form: PixelFormat) -> Image.Image:
    """Resize to S x S in the wanted mode."""
    size = (form.image_size, form.image_size)
    plain = _plain(image, form.mode, size)
    return plain.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)


def _plain(image: Image.Image, mode: str, size: tuple[int, int]) -> Image.Image:
    """Return a photo in a mode without transparency; one that has it is resized, too."""
    image.load()
    if is_deep(image):
        shallow = to_eight_bits(image)
        if shallow is None:
            raise NotUsableError("without any contrast: all its pixels are alike")
        image = shallow
    if image.has_transparency_data:
        # to convert it would copy it
        whole = image if image.mode == "RGBA" else image.convert("RGBA")
        small = whole.resize(size, Image.Resampling.BILINEAR)
        image = Image.new("RGBA", small.size, "white")
        image.alpha_composite(small)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _pixels(small: Image.Image, form: PixelFormat) -> NDArray[np.uint8]:
    if form.denoise:
        small = small.filter(ImageFilter.MedianFilter(form.denoise))
    return np.asarray(small, dtype=np.uint8).reshape(form.shape)


def _upright(small: Image.Image, image: Image.Image) -> Image.Image:
    """Turn the small square instead of the large photo. An unreadable EXIF block turns nothing."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a camera's malformed EXIF does not make its photo unusable
        turn = None
    return small if turn is None else small.transpose(turn)
