"""The boxes of located scenes as files of labelling tools: COCO and YOLO."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedshelf.common.inference.scenes.scene_reader import ReadScene
    from fedshelf.common.scenes.formats.labelled_scene import LabelledScene

COCO_FILE = "coco.json"


def labelled_scene(
    name: str, path: Path, size: tuple[int, int], read: "ReadScene"
) -> "LabelledScene":
    """Return a scene as labelling tools know it.

    Boxes whose name is sure have its class; all others are a product without a name.

    Args:
        name: of the photo, with slashes
        path: of the photo
        size: width and height of the upright photo in pixels
        read: its products
    """
    import numpy as np

    from fedshelf.common.scenes.boxes import Boxes
    from fedshelf.common.scenes.formats.labelled_scene import LabelledScene

    boxes, naming = read.boxes, read.naming
    if naming is not None:
        best = naming.probabilities.argmax(axis=1) if len(boxes) else np.empty(0, np.int64)
        is_sure = np.array([verdict == "sure" for verdict in naming.verdicts], np.bool_)
        boxes = Boxes(boxes.corners, np.where(is_sure, best, -1), boxes.scores)
    return LabelledScene(name, path, *size, boxes)


def write_coco(folder: Path, scenes: "Sequence[LabelledScene]", classes: Sequence[str]) -> None:
    """Write `coco.json` into a folder.

    Args:
        folder: it is made if need be
        scenes: photos with boxes
        classes: names that boxes may have; (): none
    """
    from fedshelf.common.scenes.formats.coco import document
    from fedshelf.common.system.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / COCO_FILE, document(scenes, classes, "Boxes that a Fedshelf model found"))


def write_yolo(folder: Path, scenes: "Sequence[LabelledScene]", classes: Sequence[str]) -> None:
    """Write links to the photos into `images`, their boxes into `labels`, and the class names.

    YOLO has a class for every box: boxes without a sure name are of the class `product`.

    Args:
        folder: it is made if need be
        scenes: photos with boxes
        classes: names that boxes may have; (): none

    Raises:
        DataError: a photo cannot be put into `images`.
    """
    from dataclasses import replace

    import numpy as np

    from fedshelf.common.errors import DataError
    from fedshelf.common.inference.labelling.placements import (
        Placement,
        carry_out,
        free_target,
        linking,
        relative_place,
    )
    from fedshelf.common.scenes.formats.labelled_scene import UNNAMED
    from fedshelf.common.scenes.formats.yolo import label_texts
    from fedshelf.common.system.files import write_text

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    action = linking(folder)
    taken: set[str] = set()
    placements = []
    placed = []
    names = list(classes) if UNNAMED in classes else [*classes, UNNAMED]
    for scene in scenes:
        target = free_target(images / relative_place(scene.name), taken, same_stem=True)
        placements.append(Placement(action, scene.path.absolute(), target))
        labels = np.where(scene.boxes.classes < 0, names.index(UNNAMED), scene.boxes.classes)
        boxes = replace(scene.boxes, classes=labels)
        placed.append(replace(scene, name=target.relative_to(images).as_posix(), boxes=boxes))
    outcome = carry_out(placements)
    if outcome.left_out:
        name, reason = outcome.left_out[0]
        raise DataError(f"{name} cannot be put into {images}: {reason}.")
    for name, text in label_texts(placed, names).items():
        write_text(folder / name, text)
