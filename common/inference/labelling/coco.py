"""COCO JSON: one box around the whole photo, whose category is the class.

COCO has no labels of whole images. The "object detection" kind is the one that tools open (CVAT,
FiftyOne, Label Studio's converter); `score` is COCO's key for the results of a detector.
Source: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.header import upright_size
from fedshelf.common.inference.labelling.guesses import Guess, NamedLabels
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.formats.coco import document
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene
from fedshelf.common.system.documents import read_json
from fedshelf.common.system.files import write_json

FILE = "coco.json"


def write(folder: Path, guesses: Sequence[Guess], classes: Sequence[str]) -> list[Path]:
    """Write `coco.json` and return it.

    Args:
        folder: of the file
        guesses: photos that can be read
        classes: in the order of the categories, which count from 1
    """
    scenes = [_scene(guess, classes) for guess in guesses]
    write_json(folder / FILE, document(scenes, classes, "Guesses of a Fedshelf model"))
    return [folder / FILE]


def _scene(guess: Guess, classes: Sequence[str]) -> LabelledScene:
    """Return a photo with one box around all of it, or with none if the model is not sure."""
    width, height = upright_size(guess.path)
    boxes = Boxes(
        np.array([[0, 0, width, height]], np.float32),
        np.array([classes.index(guess.label)]),
        np.array([guess.probability], np.float32),
    )
    is_sure = np.array([guess.verdict == "sure"])
    return LabelledScene(guess.name, guess.path, width, height, boxes.select(is_sure))


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
