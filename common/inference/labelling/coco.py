"""COCO JSON: one box around the whole photo, whose category is the class.

COCO has no labels of whole images. The "object detection" kind is the one that tools open (CVAT,
FiftyOne, Label Studio's converter); `score` is COCO's key for the results of a detector.
Source: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.header import upright_size
from fedshelf.common.inference.labelling.guesses import Guess, NamedLabels
from fedshelf.common.inference.labelling.json_file import read_json
from fedshelf.common.system.files import write_json

FILE = "coco.json"


def write(folder: Path, guesses: Sequence[Guess], classes: Sequence[str]) -> list[Path]:
    """Write `coco.json` and return it.

    Args:
        folder: of the file
        guesses: photos that can be read
        classes: in the order of the categories, which count from 1
    """
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number, guess in enumerate(guesses, start=1):
        width, height = upright_size(guess.path)
        images.append({"id": number, "file_name": guess.name, "width": width, "height": height})
        if guess.verdict == "sure":
            boxes.append(
                {
                    "id": len(boxes) + 1,
                    "image_id": number,
                    "category_id": classes.index(guess.label) + 1,
                    "bbox": [0, 0, width, height],
                    "area": width * height,
                    "segmentation": [],
                    "iscrowd": 0,
                    "score": round(guess.probability, 6),
                }
            )
    categories = [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(classes, start=1)
    ]
    write_json(
        folder / FILE,
        {
            "info": {"description": "Guesses of a Fedshelf model"},
            "licenses": [],
            "images": images,
            "annotations": boxes,
            "categories": categories,
        },
    )
    return [folder / FILE]


def read(path: Path) -> list[NamedLabels]:
    """Return the photos of a COCO file with the names of their categories.

    Raises:
        DataError: it is no such file
    """
    value = read_json(path)
    try:
        names = {category["id"]: str(category["name"]) for category in value["categories"]}
        labels: dict[Any, set[str]] = {image["id"]: set() for image in value["images"]}
        for box in value["annotations"]:
            labels[box["image_id"]].add(names[box["category_id"]])
        return [
            NamedLabels(str(image["file_name"]), frozenset(labels[image["id"]]))
            for image in value["images"]
        ]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} is no COCO file of boxes ({type(error).__name__}: {error}); expected images,"
            " annotations and categories that belong together: export it once more."
        ) from error
