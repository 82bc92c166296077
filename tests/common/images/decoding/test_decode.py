import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from fedshelf.common.images.decoding.decode import (
    NotUsableError,
    PixelFormat,
    decode,
    decode_whole,
)
from tests.helpers.photo_files import encoded, noise

# pytest shows warnings that a person does not see: `decode` switches those of Pillow off.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning"
)

SMALL = PixelFormat(8)
COLOUR = (200, 40, 80)


def flat(mode: str, colour: object, size: tuple[int, int] = (20, 14)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


def palette() -> Image.Image:
    return flat("RGB", COLOUR).quantize(4)


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.full((14, 20), 128 * 256 + 77, np.uint16))


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        pytest.param(encoded(flat("RGB", COLOUR), "PNG"), COLOUR, id="png"),
        pytest.param(encoded(flat("RGB", COLOUR), "JPEG", quality=95), COLOUR, id="jpeg"),
        pytest.param(encoded(flat("RGB", COLOUR), "WEBP", lossless=True), COLOUR, id="webp"),
        pytest.param(encoded(flat("RGB", COLOUR), "BMP"), COLOUR, id="bmp"),
        pytest.param(encoded(flat("RGB", COLOUR), "TIFF"), COLOUR, id="tiff"),
        pytest.param(encoded(palette(), "GIF"), COLOUR, id="gif"),
        pytest.param(encoded(palette(), "PNG"), COLOUR, id="palette"),
        pytest.param(encoded(flat("L", 90), "JPEG"), (90, 90, 90), id="grey-jpeg"),
        pytest.param(encoded(flat("L", 90), "PNG"), (90, 90, 90), id="grey-png"),
        pytest.param(encoded(flat("1", 1), "PNG"), (255, 255, 255), id="one-bit"),
        pytest.param(encoded(sixteen_bits(), "PNG"), (128, 128, 128), id="sixteen-bits"),
        # Half transparent over white: 255 - (255 - value) * 128 / 255.
        pytest.param(encoded(flat("RGBA", (*COLOUR, 128)), "PNG"), (227, 147, 167), id="rgba"),
        pytest.param(
            encoded(flat("RGBA", (*COLOUR, 0)), "WEBP", lossless=True),
            (255, 255, 255),
            id="rgba-webp",
        ),
        pytest.param(encoded(flat("LA", (90, 128)), "PNG"), (172, 172, 172), id="grey-alpha"),
        pytest.param(
            encoded(flat("L", 90), "PNG", transparency=90), (255, 255, 255), id="transparent-grey"
        ),
        pytest.param(
            encoded(flat("P", 0), "PNG", transparency=0), (255, 255, 255), id="transparent-palette"
        ),
        # Naive CMYK: 255 - 51 = 204 of red, times the key's share (255 - 0).
        pytest.param(
            encoded(flat("CMYK", (51, 204, 153, 0)), "JPEG", quality=95), (204, 51, 102), id="cmyk"
        ),
    ],
)
def test_every_kind_of_picture_becomes_rgb(data: bytes, colour: tuple[int, int, int]) -> None:
    pixels = decode(data, SMALL)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - colour).max() <= 3  # JPEG is lossy
    whole = np.asarray(decode_whole(data))
    assert whole.shape == (14, 20, 3)
    assert np.abs(whole.astype(int) - colour).max() <= 3


def test_grey_is_the_luma_of_colour() -> None:
    pixels = decode(encoded(flat("RGB", COLOUR), "PNG"), PixelFormat(8, channels=1))
    assert pixels.shape == (8, 8, 1)
    assert np.unique(pixels).tolist() == [round(0.299 * 200 + 0.587 * 40 + 0.114 * 80)]  # ITU-R 601


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int) -> None:
    upright = Image.fromarray(
        np.kron([[10, 70, 130], [190, 250, 40]], np.ones((40, 40))).astype(np.uint8)
    )
    # The camera stores what turning as the tag says makes upright again.
    inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data, SMALL), decode(encoded(upright, "PNG"), SMALL))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(turned), np.asarray(upright))
    np.testing.assert_array_equal(np.asarray(decode_whole(data).convert("L")), np.asarray(upright))


def test_a_broken_exif_block_does_not_lose_the_photo() -> None:
    data = encoded(
        flat("RGB", COLOUR), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\x00\x00\xff\xff garbage"
    )
    assert decode(data, SMALL).shape == (8, 8, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (31, 1), (7, 5), (401, 533), (2000, 3)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_any_size_becomes_a_square(size: tuple[int, int], kind: str) -> None:
    assert (
        np.abs(decode(encoded(flat("RGB", COLOUR, size), kind), SMALL).astype(int) - COLOUR).max()
        <= 6
    )


def test_the_whole_picture_is_kept() -> None:
    wide = np.zeros((100, 400, 3), np.uint8)
    # a quarter at each end
    wide[:, :100] = 50
    wide[:, 300:] = 200
    pixels = decode(encoded(Image.fromarray(wide), "PNG"), PixelFormat(4))
    np.testing.assert_allclose(pixels[2, [0, 3], 0], [50, 200], atol=30)


def test_the_median_filter_removes_specks_at_the_decoded_size() -> None:
    picture = np.full((8, 8), 100, np.uint8)
    picture[3, 4] = 255
    data = encoded(Image.fromarray(picture), "PNG")
    assert decode(data, PixelFormat(8, channels=1)).max() == 255
    assert np.unique(decode(data, PixelFormat(8, channels=1, denoise=3))).tolist() == [100]
    assert np.unique(decode(data, PixelFormat(8, channels=3, denoise=5))).tolist() == [100]


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it is this large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = encoded(noise(0), "PNG")
    return (
        data[:8]
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + data[33:]
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty file", id="nothing"),
        pytest.param(b"shopping list: milk", "not an image", id="text"),
        pytest.param(encoded(noise(1, 200, 200), "JPEG")[:4000], "truncated", id="jpeg"),
        pytest.param(encoded(noise(1, 200, 200), "PNG")[:4000], "truncated", id="png"),
        pytest.param(
            encoded(noise(1, 200, 200), "WEBP")[:4000], "(truncated|broken|not an image)", id="webp"
        ),
        pytest.param(
            encoded(noise(1), "PNG").replace(b"IDAT", b"IDAX"), "not an image", id="garbled"
        ),
        pytest.param(png_of(12_000, 12_000), "too large: 12000 x 12000 pixels", id="large"),
        pytest.param(png_of(30_000, 30_000), "too large: a decompression bomb", id="bomb"),
    ],
)
def test_files_that_cannot_be_used_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(NotUsableError, match=f"^{reason}$"):
        decode(data, SMALL)
    with pytest.raises(NotUsableError, match=f"^{reason}$"):
        decode_whole(data)


@pytest.mark.parametrize(("height", "is_whole"), [(1024, True), (1032, False)])
def test_a_jpeg_of_up_to_a_megapixel_is_decoded_whole(height: int, *, is_whole: bool) -> None:
    photo = encoded(noise(5, 1024, height), "JPEG", quality=80)
    with Image.open(io.BytesIO(photo)) as image:
        plain = np.array(image.resize((8, 8), Image.Resampling.BILINEAR, reducing_gap=3.0))
    difference = np.abs(decode(photo, SMALL).astype(int) - plain)
    assert (difference.max() == 0) == is_whole
    assert difference.max() <= 20
