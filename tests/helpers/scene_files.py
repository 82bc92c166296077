"""Folders of photos with labels, as people's tools write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def save_photo(path: Path, width: int = 100, height: int = 50, orientation: int = 1) -> Path:
    """Write a photo of random pixels, different for each path; `width` and `height` as stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(map(ord, str(path.relative_to(path.parents[1]))))
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def save_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def coco_file(
    path: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    names: tuple[str, ...] = ("can",),
) -> Path:
    """A COCO file whose categories count from 1."""
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return save_text(path, json.dumps(content))


def image(number: int, name: str, width: int = 100, height: int = 50) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": width, "height": height}


def annotation(number: int, bbox: list[float], category: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": 7, "image_id": number, "category_id": category, "bbox": bbox, **more}
