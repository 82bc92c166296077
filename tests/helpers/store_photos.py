"""A store's photos for tests of its health: drawn things with edges, so that sharpness means
something.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fedshelf.client.health.evidence.evidence import Evidence
from fedshelf.client.health.evidence.image_quality import look_at
from fedshelf.client.health.evidence.machine import Disk, Machine
from fedshelf.client.health.evidence.photos import PhotoEvidence, Seen
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
) -> Seen:
    """A photo as a check sees it; the file need not exist."""
    label = name.split("/")[-2]
    data = encoded(image) if image else name.encode()
    photo = Photo(name, root / name, label, split)  # type: ignore[arg-type]
    return Seen(photo, content_digest(data), look_at(data) if image else None)


def counts(**classes: int) -> Evidence:
    """A store with so many photos per class, never looked at."""
    return of(
        *(
            seen(f"{label}/{number}.jpg")
            for label, count in classes.items()
            for number in range(count)
        )
    )


def of(*photos: Seen) -> Evidence:
    return Evidence(PhotoEvidence(usable=photos), MACHINE)
