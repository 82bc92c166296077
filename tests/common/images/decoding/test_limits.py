"""Hostile photos: a few bytes that claim many pixels, and how much memory they get."""

import io
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.decoding.limits import (
    LOCAL_LIMITS,
    SERVICE_LIMITS,
    Limits,
    memory_needed,
    reserve_memory,
)
from fedshelf.common.images.folder.photo_folder import open_folder
from tests.helpers.photo_files import encoded, noise, save

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

FORM = PixelFormat(8)


def webp(width: int, height: int) -> bytes:
    """A WebP of one colour in some 40 bytes, whose size (14 bits each, RFC 9649, section 3.4) is
    then set.
    """
    data = bytearray(encoded(Image.new("RGB", (16, 16), (9, 90, 200)), "WEBP", lossless=True))
    start = data.index(b"VP8L") + 9
    rest = int.from_bytes(data[start : start + 4], "little") >> 28
    data[start : start + 4] = ((width - 1) | (height - 1) << 14 | rest << 28).to_bytes(4, "little")
    return bytes(data)


def png(width: int, height: int, colour: int = 6, depth: int = 8) -> bytes:
    """A PNG that claims this size (2: RGB, 6: RGBA, 0: grey), with no pixels at all."""
    body = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", body), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def reason(data: bytes, limits: Limits) -> str:
    with pytest.raises(NotUsableError) as raised:
        decode(data, FORM, limits)
    return str(raised.value)


@pytest.mark.parametrize(
    ("data", "limits", "expected"),
    [
        (png(5001, 5000, 2), SERVICE_LIMITS, "too large: 5001 x 5000 pixels"),
        (png(4001, 3000), SERVICE_LIMITS, "too large: 4001 x 3000 pixels"),
        (webp(4001, 3000), SERVICE_LIMITS, "too large: 4001 x 3000 pixels"),
        (webp(9500, 9500), LOCAL_LIMITS, "too large: 9500 x 9500 pixels"),
        (png(9500, 9500), LOCAL_LIMITS, "too large: 9500 x 9500 pixels"),
        (webp(16383, 16383), LOCAL_LIMITS, "too large: a decompression bomb"),
        (png(2**31 - 1, 2**31 - 1), SERVICE_LIMITS, "too large: a decompression bomb"),
        # Within the limits: that no pixel follows shows only when they are decoded.
        (png(5000, 5000, 2), SERVICE_LIMITS, "truncated"),
        (png(4000, 3000), SERVICE_LIMITS, "truncated"),
    ],
)
def test_a_photo_beyond_its_limit_is_left_out(data: bytes, limits: Limits, expected: str) -> None:
    assert reason(data, limits) in (expected, "broken" if expected == "truncated" else expected)


def test_a_photo_within_its_limit_is_decoded() -> None:
    assert decode(webp(2000, 1500), FORM, SERVICE_LIMITS)[0, 0].tolist() == [9, 90, 200]


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "AVIF"])
def test_each_format_has_the_limit(kind: str) -> None:
    content = encoded(noise(1, 90, 70), kind)
    assert (
        reason(content, Limits(6299, 6299, LOCAL_LIMITS.memory_bytes))
        == "too large: 90 x 70 pixels"
    )
    assert decode(content, FORM, Limits(6300, 6300, LOCAL_LIMITS.memory_bytes)).shape == FORM.shape


def test_text_that_swells_is_not_read() -> None:
    told = PngImagePlugin.PngInfo()
    told.add_text("a", "x" * 50_000_000, zip=True)
    assert reason(encoded(noise(1), "PNG", pnginfo=told), SERVICE_LIMITS) == "broken"


PEAK = """
import sys, threading
from pathlib import Path
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.decoding.limits import LOCAL_LIMITS, SERVICE_LIMITS, Limits
def status(field):
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1024
data, limits, threads = Path(sys.argv[1]).read_bytes(), eval(sys.argv[2]), int(sys.argv[3])
def work():
    try:
        decode(data, PixelFormat(8), limits)
    except NotUsableError:
        pass
before = status("VmRSS")
working = [threading.Thread(target=work) for _ in range(threads)]
for thread in working: thread.start()
for thread in working: thread.join()
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc"
)
@pytest.mark.parametrize(
    ("data", "limits", "threads", "most"),
    [
        pytest.param(webp(16383, 10900), "LOCAL_LIMITS", 2, 60, id="refused"),
        pytest.param(webp(16383, 16383), "SERVICE_LIMITS", 2, 60, id="bomb"),
        # 11.56 megapixels take 16 bytes each, 185 MB; four at once 740.
        pytest.param(webp(3400, 3400), "SERVICE_LIMITS", 4, 480, id="two-at-once"),
        pytest.param(
            webp(3400, 3400),
            "Limits(LOCAL_LIMITS.max_pixels, LOCAL_LIMITS.max_pixels, 300_000_000)",
            4,
            290,
            id="as-memory-allows",
        ),
    ],
)
def test_peak_memory_stays_within_the_limits(
    tmp_path: Path, data: bytes, limits: str, threads: int, most: int
) -> None:
    """In MiB, in a process of its own."""
    (tmp_path / "photo").write_bytes(data)
    program = [sys.executable, "-c", PEAK, str(tmp_path / "photo"), limits, str(threads)]
    assert int(subprocess.run(program, capture_output=True, text=True, check=True).stdout) < most


def test_a_person_s_folder_has_the_local_limits(tmp_path: Path) -> None:
    save(tmp_path / "hat" / "1.png", noise(1))
    (tmp_path / "hat" / "huge.webp").write_bytes(webp(9500, 9500))
    folder = open_folder(tmp_path, image_size=8, channels=3)
    assert folder.left_out == (("hat/huge.webp", "too large: 9500 x 9500 pixels"),)


def test_the_largest_photo_has_room() -> None:
    """Alone for a person's own; two of them for a service."""
    assert memory_needed(LOCAL_LIMITS.max_costly_pixels, is_webp=True) <= LOCAL_LIMITS.memory_bytes
    assert (
        2 * memory_needed(SERVICE_LIMITS.max_pixels, is_webp=False) <= SERVICE_LIMITS.memory_bytes
    )
    assert (
        2 * memory_needed(SERVICE_LIMITS.max_costly_pixels, is_webp=True)
        <= SERVICE_LIMITS.memory_bytes
    )


@pytest.mark.parametrize(
    "limits",
    [Limits(1, 1, memory_bytes=100, max_decodes=1), Limits(1, 1, memory_bytes=10)],
    ids=["count", "memory"],
)
def test_a_decode_waits_for_the_one_before(limits: Limits) -> None:
    """The second may begin only when the first has ended, whatever each needs."""
    order = []
    with reserve_memory(limits, 20):
        second = threading.Thread(target=lambda: _enter(limits, order))
        second.start()
        second.join(0.1)  # time to begin too early, if it could
        order.append("first ends")
    second.join()
    assert order == ["first ends", "second begins"]


def _enter(limits: Limits, order: list[str]) -> None:
    with reserve_memory(limits, 5):
        order.append("second begins")


def test_a_stream_of_truncated_photos_gives_its_room_back() -> None:
    stream = io.BytesIO()
    noise(1, 300, 300).save(stream, "PNG")
    for _ in range(3):
        assert (
            reason(stream.getvalue()[:2000], Limits(10**6, 10**6, memory_bytes=1, max_decodes=1))
            == "truncated"
        )
