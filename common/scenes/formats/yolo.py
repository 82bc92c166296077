"""YOLO: beside each photo a text file with a line for each product.

    images/1.jpg   labels/1.txt   classes.txt or data.yaml

A line is `class x y width height` (the box's middle and size), or `class x1 y1 x2 y2 x3 y3 ...` (a
polygon), in shares of the upright photo; the class counts from 0. An empty file is a photo without
products; a photo without a file was not labelled. The labels of `images/shop/1.jpg` are those of
`labels/shop/1.txt`, or of a text file beside the photo.
Sources: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/
(lines, `data.yaml`); https://docs.ultralytics.com/yolov5/tutorials/train_custom_data/ (places).
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedshelf.common.errors import DataError
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.formats.folder_files import (
    MAX_LABEL_BYTES,
    NO_PHOTO,
    NOT_LABELLED,
    FolderFiles,
)
from fedshelf.common.scenes.formats.labelled_scene import UNNAMED, LabelledScene, SceneLabels
from fedshelf.common.scenes.formats.placing import place
from fedshelf.common.scenes.formats.raw_labels import RawBox, RawScene, number, polygon

CLASSES_FILE = "classes.txt"
DATA_FILE = "data.yaml"
_DATA_FILES = (DATA_FILE, "data.yml", "dataset.yaml")
# Darknet's, as CVAT and Roboflow write them
_NAME_FILES = (CLASSES_FILE, "obj.names", "_darknet.labels")
_LARGEST_SHARE = 2.0  # a box may leave the photo; numbers beyond this are pixels, not shares


def label_files(files: FolderFiles) -> dict[str, Path]:
    """Return the files that may be labels: text files in folders of labels, or beside photos."""
    stems = {name.rsplit(".", 1)[0] for name in files.photos}
    return {
        name: path
        for name, path in files.others.items()
        if name.lower().endswith(".txt")
        and name.rsplit("/", 1)[-1] != CLASSES_FILE
        and ("labels" in name.split("/")[:-1] or name[:-4] in stems)
    }


def read(files: FolderFiles) -> SceneLabels:
    """Return the labels of a folder.

    Raises:
        DataError: the names of classes cannot be read, or a label has no name
    """
    classes = _class_names(files)
    labels = label_files(files)
    used: dict[str, str] = {}
    raw_scenes = []
    for photo in files.photos.values():
        name = next((one for one in _label_names(photo.name) if one in labels), None)
        scene = RawScene(photo, None)
        raw_scenes.append(scene)
        if name is None:
            scene.reason = NOT_LABELLED
        elif name in used:
            scene.reason = f"has the labels of {used[name]}, too ({name})"
        else:
            used[name] = photo.name
            _read_file(labels[name], name, scene, classes)
    left_out = [*files.left_out]
    left_out += [(name, NO_PHOTO) for name in labels if name not in used]
    return place("yolo", raw_scenes, classes, left_out, Counter())


def _label_names(photo: str) -> list[str]:
    """Return the names that a photo's label file may have."""
    stem = photo.rsplit(".", 1)[0]
    parts = stem.split("/")
    names = [f"{stem}.txt"]
    for place_ in range(len(parts) - 2, -1, -1):
        if parts[place_] == "images":
            names.insert(0, "/".join([*parts[:place_], "labels", *parts[place_ + 1 :]]) + ".txt")
            break
    # a tool that exports labels alone leaves the photos where they were
    return [*names, f"labels/{stem}.txt"]


def _read_file(path: Path, name: str, scene: RawScene, classes: tuple[str, ...]) -> None:
    """Add the boxes of a file, or the reason why they cannot be used.

    Raises DataError: a class without a name.
    """
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise ValueError(f"larger than {MAX_LABEL_BYTES >> 20} MiB")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        scene.boxes += [_box(line.split()) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else _short(error)
        scene.reason = f"labels that cannot be understood: {name}, {reason}"
        return
    largest = max((box.label for box in scene.boxes), default=-1)
    if classes and largest >= len(classes):
        raise DataError(
            f"{name} has class {largest}, but there are {len(classes)} names, 0 to"
            f" {len(classes) - 1}; expected a name for each: put {CLASSES_FILE} or {DATA_FILE} of"
            " these very labels into the folder."
        )
    if not classes:
        scene.boxes[:] = [RawBox(-1, box.corners, box.polygons) for box in scene.boxes]


def _short(error: ValueError) -> str:
    return "not in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _box(words: Sequence[str]) -> RawBox:
    """Return the product of a line. Raises ValueError."""
    if not words[0].isascii() or not words[0].isdigit() or len(words[0]) > 6:
        raise ValueError(f"{words[0][:20]!r} is no class")
    numbers = [number(word) for word in words[1:]]
    if any(abs(value) > _LARGEST_SHARE for value in numbers):
        raise ValueError("numbers that are no shares of the photo, 0 to 1")
    if len(numbers) == 5:
        raise ValueError("lines with a confidence, which are guesses and no labels")
    if len(numbers) != 4:
        return RawBox(int(words[0]), None, (polygon(numbers),))
    x, y, width, height = numbers
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return RawBox(int(words[0]), corners)


def _class_names(files: FolderFiles) -> tuple[str, ...]:
    """Return the names of classes, in order; () if no file has them. Raises DataError."""
    found: dict[str, tuple[str, ...]] = {}
    for name in (name for name in files.others if name.rsplit("/", 1)[-1] in _NAME_FILES):
        found[name] = _lines(files.others[name])
    for name in (name for name in files.others if name.rsplit("/", 1)[-1] in _DATA_FILES):
        names = _yaml_names(files.others[name])
        if names:
            found[name] = names
    if len(set(found.values())) > 1:
        raise DataError(
            f"{files.root} has different names of classes in {', '.join(sorted(found))}; expected"
            " one list: remove those of other labels."
        )
    return next(iter(found.values()), ())


def _lines(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read; expected a class in each line.") from error
    names = tuple(line.strip() for line in text.strip().split("\n") if text.strip())
    if "" in names:
        raise DataError(
            f"{path} has an empty line between class {names.index('') - 1} and a later one, so"
            " nothing says which number that has; remove the line, or write the missing name."
        )
    return names


def _yaml_names(path: Path) -> tuple[str, ...]:
    """Return the names in a `data.yaml`; () if it has none. Raises DataError."""
    import yaml

    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise ValueError("too large")
        # text alone, as it is written: else 0123 were the number 83, and No were False
        value = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)
        names = value.get("names", []) if isinstance(value, dict) else []
        if isinstance(value, dict) and "kpt_shape" in value:
            raise DataError(f"{path} is of poses (kpt_shape); expected boxes or outlines.")
        return _ordered(names)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(
            f"{path} cannot be understood; expected names of classes, as a list or by number, such"
            ' as names: ["milk", "tea"].'
        ) from error


def _ordered(names: Any) -> tuple[str, ...]:
    """Return names in order, of a list or of number -> name, all in text. Raises ValueError."""
    if isinstance(names, dict):
        by_number = {int(key): name for key, name in names.items()}
        if sorted(by_number) != list(range(len(names))):
            raise ValueError("numbers with gaps")
        names = [by_number[place_] for place_ in range(len(names))]
    if not isinstance(names, list) or not all(name and isinstance(name, str) for name in names):
        raise ValueError("no names")
    return tuple(names)


def lines_of(boxes: Boxes, width: int, height: int) -> str:
    """Return the text of a label file.

    Args:
        boxes: in pixels; a box without a class is of class 0 if no box has one
        width: of the upright photo, pixels
        height: of the upright photo, pixels
    """
    text = ""
    for label, (left, top, right, bottom) in zip(
        boxes.classes.tolist(), boxes.corners.tolist(), strict=True
    ):
        shares = (
            (left + right) / 2 / width,
            (top + bottom) / 2 / height,
            (right - left) / width,
            (bottom - top) / height,
        )
        text += " ".join([str(max(0, label)), *(f"{share:.6g}" for share in shares)]) + "\n"
    return text


def label_texts(scenes: Sequence[LabelledScene], classes: Sequence[str]) -> dict[str, str]:
    """Return the files of a folder but its photos, by their names.

    Args:
        scenes: photos by their names below the folder's `images`
        classes: in the order of their numbers; (): all boxes are of one class, `product`
    """
    texts = {
        f"labels/{scene.name.rsplit('.', 1)[0]}.txt": lines_of(
            scene.boxes, scene.width, scene.height
        )
        for scene in scenes
    }
    splits = {scene.split for scene in scenes}
    if "train" in splits:
        held_out = "validation" if "validation" in splits else "train"
        return texts | class_texts(classes or (UNNAMED,), "images/train", f"images/{held_out}")
    return texts | class_texts(classes or (UNNAMED,))


def class_texts(
    classes: Sequence[str], train: str = "images", validation: str = "images"
) -> dict[str, str]:
    """Return `data.yaml` and `classes.txt` by their names.

    Args:
        classes: in the order of their numbers
        train: folder of the photos to train on
        validation: folder of those to judge the training by
    """
    names = "".join(
        f"  {place_}: {json.dumps(name, ensure_ascii=False)}\n"
        for place_, name in enumerate(classes)
    )
    return {
        DATA_FILE: f"path: .\ntrain: {train}\nval: {validation}\nnames:\n{names}",
        CLASSES_FILE: "".join(f"{name}\n" for name in classes),
    }
