"""Small pictures of photos for people: upright, in their own proportions."""

import base64
import io
from pathlib import Path

from PIL import Image

from fedshelf.common.images.decoding.content_digests import read_photo
from fedshelf.common.images.decoding.decode import PixelFormat, decode, open_photo
from fedshelf.common.images.decoding.limits import LOCAL_LIMITS, Limits

_TURNED = range(5, 9)  # EXIF orientations that swap width and height


def upright_size(data: bytes) -> tuple[int, int] | None:
    """Return a photo's upright width and height in pixels by its header; None: it has none."""
    try:
        with open_photo(data) as image:
            width, height = image.size
            try:
                turned = image.getexif().get(0x0112, 1) in _TURNED
            except Exception:  # a malformed EXIF block rotates nothing, as when decoding
                turned = False
    except Exception:
        return None
    return (height, width) if turned else (width, height)


def picture(data: bytes, side: int, limits: Limits = LOCAL_LIMITS) -> Image.Image:
    """Return a photo in RGB with a longer side of `side` pixels.

    Args:
        data: the photo's file
        side: pixels
        limits: of decoding

    Raises:
        NotUsableError: it cannot be decoded.
    """
    square = Image.fromarray(decode(data, PixelFormat(side), limits))
    width, height = upright_size(data) or (side, side)
    scale = side / max(width, height)
    return square.resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BILINEAR
    )


def thumbnail(path: Path, side: int) -> bytes:
    """Return a JPEG of a photo with a longer side of `side` pixels. Raises NotUsableError."""
    return jpeg(picture(read_photo(path), side))


def jpeg(image: Image.Image) -> bytes:
    """Return a picture as a small JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=72, optimize=True)
    return file.getvalue()


def data_uri(jpeg_file: bytes) -> str:
    """Return a JPEG file as text that stands in a page in place of its address."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg_file).decode()}"
