"""Phones' photos, and pictures of more than eight bits."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.decoding.formats import possible_formats
from tests.helpers import heic
from tests.helpers.photo_files import encoded, noise, save

SQUARES = PixelFormat(6, 1)


def shown(data: bytes) -> list[list[int]]:
    """The brightness of each of two rows of three squares."""
    return decode(data, SQUARES)[1::3, ::2, 0].astype(int).tolist()


def upright() -> Image.Image:
    return Image.fromarray(np.kron(heic.SQUARES, np.ones((16, 16))).astype(np.uint8))


DAMAGED = heic.TURNED.replace(b"Exif", b"E\xff\xfdf", 1)  # pi-heif alone ends the process


@pytest.mark.parametrize(
    "data", [heic.PLAIN, heic.TURNED, DAMAGED], ids=["plain", "turned", "damaged metadata"]
)
def test_heic_is_read_and_turned_once(data: bytes) -> None:
    np.testing.assert_allclose(shown(data), heic.SQUARES, atol=30)


@pytest.mark.parametrize("orientation", [1, 6])
def test_avif_is_read_and_turned_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright().transpose(Image.Transpose.ROTATE_90) if orientation == 6 else upright()
    np.testing.assert_allclose(
        shown(encoded(stored, "AVIF", exif=exif.tobytes())), heic.SQUARES, atol=30
    )


@pytest.mark.parametrize(
    ("data", "formats"),
    [
        (heic.PLAIN, ("HEIF",)),
        (heic.PLAIN[:8] + b"mif1" + heic.PLAIN[12:], ("HEIF",)),
        (encoded(noise(1), "AVIF"), ("AVIF",)),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", ()),
    ],
    ids=["heic", "generic brand", "avif", "film"],
)
def test_a_container_tells_what_is_inside(data: bytes, formats: tuple[str, ...]) -> None:
    assert possible_formats(data) == formats


@pytest.mark.parametrize(
    "data", [heic.PLAIN[:400], encoded(noise(1, 90, 90), "AVIF")[:400]], ids=["heic", "avif"]
)
def test_a_phone_s_photo_cut_off_is_named(data: bytes) -> None:
    with pytest.raises(NotUsableError, match=r"^broken$"):
        decode(data, SQUARES)


WITHOUT_PI_HEIF = """
import sys
sys.modules["pi_heif"] = None
from pathlib import Path
from fedshelf.client.health.checks.files import readable
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.run_checks import quick_check
from fedshelf.client.health.evidence.machine import inspect_machine
from fedshelf.client.health.evidence.photos import measure_photos
from fedshelf.client.health.folder_summary import summarize_folder
from fedshelf.common.images.folder.photo_folder import open_folder
root = Path(sys.argv[1])
print(open_folder(root, image_size=8, channels=3).summary())
print(summarize_folder(root))
for finding in (*readable(Evidence(measure_photos(root), inspect_machine())), *quick_check(root)):
    if "HEIC" in finding.what:
        print(finding.severity, finding.what, finding.advice)
"""


def test_without_pi_heif_heic_is_left_out_with_a_word(tmp_path: Path) -> None:
    """In a process where it cannot be imported."""
    for number in range(3):
        save(tmp_path / "shop" / "hat" / f"{number}.png", noise(number))
        (tmp_path / "shop" / "hat" / f"IMG_{number}.HEIC").write_bytes(heic.PLAIN + bytes(number))
    program = [sys.executable, "-c", WITHOUT_PI_HEIF, str(tmp_path / "shop")]
    said = subprocess.run(program, capture_output=True, text=True, check=True).stdout.splitlines()
    reason = "HEIC, readable once pi-heif is installed (pip install pi-heif)"
    assert said[0].startswith("3 images in 1 class")
    assert said[0].endswith(f"left out 3: 3 photos ({reason}).")
    assert said[1].startswith("3 photos of 1 class (hat 3).")
    assert f"3 {reason}" in said[1]
    assert said[2:] == [said[2]] * 2
    assert said[2].startswith("warning 3 photos cannot be used yet: 3 HEIC")
    assert "pip install pi-heif" in said[2]


# more than eight bits


def tiff(values: NDArray[np.generic]) -> bytes:
    """A grey TIFF of these numbers, uncompressed (TIFF 6.0, sections 2 and 19)."""
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width = values.shape
    fields = [
        (256, width),
        (257, height),
        (258, values.itemsize * 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, values.nbytes),
        (339, kind),
    ]
    start = (
        b"II*\0"
        + struct.pack("<I", 8 + values.nbytes)
        + values.tobytes()
        + struct.pack("<H", len(fields))
    )
    return (
        start + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields) + bytes(4)
    )


RAMP = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("values", "right"),
    [
        pytest.param(RAMP.astype(np.float32) / 255, RAMP, id="0-to-1"),
        pytest.param(RAMP.astype(np.float32), RAMP, id="0-to-255"),
        pytest.param(RAMP.astype(np.float32) * 257, RAMP, id="0-to-65535"),
        pytest.param(RAMP.astype(np.float32) * 2 - 300, RAMP, id="negative"),
        pytest.param(RAMP.astype(np.int32) * 2**22, RAMP, id="int32"),
        pytest.param(RAMP.astype(np.uint32) * 2**24, RAMP, id="uint32"),
        pytest.param((RAMP * 100 - 12_000).astype(np.int16), RAMP, id="int16"),
        pytest.param((RAMP * 257).astype(np.uint16), RAMP, id="16-bits"),
        pytest.param((RAMP * 16).astype(np.uint16), RAMP, id="12-bits"),
        pytest.param((RAMP * 4).astype(np.uint16), RAMP, id="10-bits"),
        pytest.param(RAMP.astype(np.uint16), RAMP, id="8-bits-in-16"),
        pytest.param(
            np.where(RAMP == 9, np.nan, RAMP).astype(np.float32),
            np.where(RAMP == 9, 0, RAMP),
            id="not-a-number",
        ),
        pytest.param(
            np.where(RAMP == 9, np.inf, RAMP).astype(np.float32),
            np.where(RAMP == 9, 255, RAMP),
            id="infinite",
        ),
    ],
)
def test_tiffs_of_many_bits_keep_their_tones(
    values: NDArray[np.generic], right: NDArray[np.int64]
) -> None:
    np.testing.assert_array_equal(decode(tiff(values), PixelFormat(16, 1))[..., 0], right)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_a_tiff_without_range_is_left_out(value: float) -> None:
    with pytest.raises(NotUsableError, match=r"^without any contrast: all its pixels are alike$"):
        decode(tiff(np.full((4, 4), value, np.float32)), SQUARES)


def test_a_tiff_that_pillow_cannot_read_is_no_text_file() -> None:
    with pytest.raises(NotUsableError, match=r"^a TIFF of an unusual kind$"):
        decode(tiff(np.ones((4, 4))), SQUARES)


def test_libtiff_prints_nothing(tmp_path: Path) -> None:
    """Not in this process's threads either, and what others print stays."""
    content = bytearray(encoded(noise(1, 90, 90), "TIFF", compression="tiff_adobe_deflate"))
    content[2000:2010] = bytes(10)
    for number in range(8):
        (tmp_path / "hat").mkdir(exist_ok=True)
        (tmp_path / "hat" / f"{number}.tif").write_bytes(content + bytes(number))
    save(tmp_path / "hat" / "whole.png", noise(2))
    program = (
        "import os, sys; from pathlib import Path; from fedshelf.common.images.folder.photo_folder"
        f" import open_folder\nfolder = open_folder(Path({str(tmp_path)!r}), image_size=8,"
        " channels=3)\nos.write(2, b'said by another\\n'); print(len(folder.left_out))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stderr == "said by another\n"
    assert ended.stdout == "8\n"


def test_the_first_of_several_pages_or_frames_is_taken() -> None:
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("TIFF", "GIF", "WEBP", "PNG", "AVIF"):
        stream = io.BytesIO()
        pages[0].save(stream, kind, save_all=True, append_images=pages[1:])
        assert decode(stream.getvalue(), PixelFormat(4))[0, 0].argmax() == 0, kind
