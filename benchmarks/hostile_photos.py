"""Requests to `flower-client serve` as nobody honest sends them; each deserves a 4xx."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from PIL import Image

_JPEG_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


@dataclass(frozen=True)
class HostileRequest:
    """All that is sent of a request, with the name of its kind."""

    kind: str
    sent: bytes


def hostile_requests(photo: bytes, seed: int = 0) -> Iterator[HostileRequest]:
    """Yield requests without end; all kinds once in each turn.

    Args:
        photo: an honest JPEG
        seed: of what is random
    """
    draws = random.Random(seed)
    while True:
        noise = draws.randbytes(draws.randrange(1, 5000))
        yield _posted("noise", b"\x00" + noise)
        yield _posted("truncated", photo[: draws.randrange(4, len(photo) // 2)])
        yield _posted("nearly empty", photo[:3])
        yield _posted("empty", b"")
        yield _posted("noise after the magic", _JPEG_START + noise)
        yield _posted("script in a GIF", b"GIF89a/*" + noise + b"*/=0;alert(1)")
        yield _posted("page in a JPEG", _JPEG_START + b"<html><script>alert(1)</script></html>")
        yield _posted("photo in a PDF", b"%PDF-1.4\n" + photo)
        yield _posted("archive", _archive(noise))
        yield _posted("text", b"not a photo at all")
        yield _posted("wrong type", photo, "application/json")
        yield _posted("broken form", photo, "multipart/form-data; boundary=x")
        yield _posted("PNG of 900 megapixels", _blank_png(30_000, 30_000))
        yield _posted("PNG that claims 2^31 pixels a side", _blank_png(2**31 - 1, 2**31 - 1, 1))
        yield _posted("WebP of 13 megapixels", _blank("WEBP", 4_000, 3_250))
        yield _posted("JPEG of 26 megapixels", _blank("JPEG", 6_500, 4_000))
        yield HostileRequest("huge", _head(10**11) + b"begin")
        yield HostileRequest("no HTTP", b"\x16\x03\x01" + noise)
        yield HostileRequest("long URL", b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n")
        yield HostileRequest("many headers", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n")
        yield HostileRequest("head that stops", _head(1000)[:60])
        yield HostileRequest("body that stops", _head(len(photo)) + photo[:100])


def _head(length: int, kind: str = "image/jpeg") -> bytes:
    lines = ("POST /v1/classify HTTP/1.1", "Host: localhost", f"Content-Type: {kind}")
    return "\r\n".join((*lines, f"Content-Length: {length}", "", "")).encode()


def _posted(kind: str, body: bytes, content_type: str = "image/jpeg") -> HostileRequest:
    return HostileRequest(kind, _head(len(body), content_type) + body)


def _archive(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photo.jpg", content)
    return file.getvalue()


@cache
def _blank(kind: str, width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(file, kind)
    return file.getvalue()


@cache
def _blank_png(width: int, height: int, rows: int = 0) -> bytes:
    """A PNG whose pixels, a bit each, are compressed a thousandfold."""
    data = bytes((width + 7) // 8 + 1) if not rows else b"\x00"

    def chunk(kind: bytes, content: bytes) -> bytes:
        sealed = kind + content
        return struct.pack(">I", len(content)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(data) for _ in range(rows or height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
