"""Folders of photos with labels, as people's tools write them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedshelf.simulations.datasets.scenes.goods import draw_goods


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


def masks_of_cvat(folder: Path, photos: int) -> None:
    """Photos of 20 x 10 pixels with masks and no boxes: milk on the left half, cans on the right of
    the upper half."""
    mask = np.zeros((10, 20, 3), np.uint8)
    mask[:, :10] = (255, 0, 0)
    mask[:5, 10:] = (10, 128, 0)
    (folder / "SegmentationClass").mkdir(parents=True)
    for number in range(photos):
        save_photo(folder / f"JPEGImages/{number}.jpg", 20, 10)
        Image.fromarray(mask).save(folder / f"SegmentationClass/{number}.png")
    save_text(
        folder / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nmilk:255,0,0::\ncan:10,128,0::\n",
    )
    save_text(
        folder / "ImageSets/Segmentation/default.txt", "".join(f"{n}\n" for n in range(photos))
    )


def save_sheets(folder: Path) -> Path:
    """Write photos of twenty cans and twenty boxes on white sheets, in a folder for each class."""
    for good in draw_goods(("can", "box"), 20, 70, np.random.default_rng(1)):
        name = ("can", "box")[good.label]
        sheet = Image.new("RGB", (110, 100), "white")
        product = Image.fromarray(good.picture)
        sheet.paste(product, (25, 12), product)
        place = folder / name / f"{len(list(folder.glob('*/*')))}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(place)
    return folder
