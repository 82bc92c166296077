"""Photo files for tests, made with Pillow."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def noise(seed: int, width: int = 12, height: int = 9) -> Image.Image:
    """A picture unlike that of any other seed."""
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def store(root: Path, classes: dict[str, int], first_seed: int = 0) -> Path:
    """A folder of PNG photos: so many per class, all different."""
    seed = first_seed
    for label, count in classes.items():
        for number in range(count):
            save(root / label / f"{number:03}.png", noise(seed))
            seed += 1
    return root
