"""A store's photos for tests of its health: drawn things with edges, so that sharpness means
something.
"""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.image_quality import measure_quality
from fedshelf.client.health.evidence.machine import Disk, Machine
from fedshelf.client.health.evidence.photos import PhotoEvidence, StorePhoto
from fedshelf.common.images.decoding.content_digests import content_digest
from fedshelf.common.images.folder.scan import Photo

GIB = 2**30
MACHINE = Machine(
    "cpu",
    "8 processor cores",
    8,
    (Disk("keys", Path("/keys"), 500 * GIB),),
    memory=(8 * GIB, 16 * GIB),
)


def thing(seed: int, size: int = 120) -> Image.Image:
    """Ten bright shapes on a mid-grey ground, unlike those of any other seed."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), (110, 110, 110))
    draw = ImageDraw.Draw(image)
    for _ in range(10):
        left, top = rng.integers(0, size * 3 // 4, 2)
        width, height = rng.integers(size // 8, size // 2, 2)
        draw.rectangle(
            (left, top, left + width, top + height), fill=tuple(rng.integers(20, 236, 3).tolist())
        )
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def save(path: Path, image: Image.Image, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def folder(root: Path, classes: dict[str, int], seed: int = 0) -> Path:
    for label, count in classes.items():
        for _ in range(count):
            save(root / label / f"{seed:04}.png", thing(seed))
            seed += 1
    return root


def seen(
    name: str,
    image: Image.Image | None = None,
    split: str | None = None,
    root: Path = Path("/gone"),
) -> StorePhoto:
    """A photo as a check sees it; the file need not exist."""
    label = name.split("/")[-2]
    data = encoded(image) if image else name.encode()
    photo = Photo(name, root / name, label, split)  # type: ignore[arg-type]
    return StorePhoto(photo, content_digest(data), measure_quality(data) if image else None)


def counts(**classes: int) -> Evidence:
    """A store with so many photos per class, never looked at."""
    return of(
        *(
            seen(f"{label}/{number}.jpg")
            for label, count in classes.items()
            for number in range(count)
        )
    )


def of(*photos: StorePhoto) -> Evidence:
    return Evidence(PhotoEvidence(usable=photos), MACHINE)


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG of a hundred bytes that says it is 3.6 thousand million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


def odd_folder(root: Path) -> Path:
    folder(root, {"hat": 3, "boot": 3})
    hat = root / "hat"
    (hat / "zero.jpg").touch()
    (hat / "half.jpg").write_bytes(encoded(thing(9, 300), "JPEG")[:2000])
    (hat / "bomb.png").write_bytes(bomb())
    (hat / "text.jpg").write_text("not a photo")
    (hat / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (hat / "loop").symlink_to(root / "hat")
    (hat / "self.jpg").symlink_to(hat / "self.jpg")
    os.mkfifo(hat / "pipe.jpg")
    save(hat / "<script>alert(1)</script>.png".replace("/", "\N{FRACTION SLASH}"), thing(20))
    save(hat / "new\nline \N{RIGHT-TO-LEFT OVERRIDE}.png", thing(21))
    (hat / "grün \N{T-SHIRT}").write_bytes(encoded(thing(22)))
    (Path(os.fsdecode(os.fsencode(hat) + b"/\xff\xfe.png"))).write_bytes(encoded(thing(23)))
    (root / "LICENSE").write_text("do as you like")
    return root
