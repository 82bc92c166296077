"""COCO JSON: all photos, boxes and outlines of a data set in one file.

A box is left, top, width and height in pixels. An outline (`segmentation`) is a list of polygons,
or run lengths in `counts`, as numbers or as text (`run_lengths`). A photo that is listed without
annotations has no products.

COCO has no word for a product that is hardly seen. It is written with `iscrowd` 1, so that COCO's
own evaluation neither asks for it nor counts it as wrong, and with `ignore` 1, which tells it from
a crowd, as BDD100K's converter writes what is not to be judged. `ignore` 1 is read so; `iscrowd`
alone is a crowd, which is left out.
Sources: https://cocodataset.org/#format-data (and #format-results: `score` is a detector's);
https://github.com/bdd100k/bdd100k (`label/to_coco.py`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.scenes.formats.folder_files import FolderFiles
from fedshelf.common.scenes.formats.labelled_scene import (
    UNNAMED,
    LabelledScene,
    Outline,
    SceneLabels,
)
from fedshelf.common.scenes.formats.placing import CROWD, place
from fedshelf.common.scenes.formats.raw_labels import (
    RawBox,
    RawScene,
    check_upright,
    number,
    polygon,
)
from fedshelf.common.scenes.formats.run_lengths import decode_text, encode_text
from fedshelf.common.system.documents import read_json

LISTED_ONLY = "listed, but there is no such photo"
NOT_LISTED = "not in the file of labels"
SCORED = "with a score: a model's guesses, no labels"
_OTHER_FILES = {"label-studio.json", "package.json", "notes.json"}


def label_files(files: FolderFiles) -> dict[str, Path]:
    """Return the files that may be COCO: JSON that begins as an object does."""
    return {
        name: path
        for name, path in files.others.items()
        if name.lower().endswith(".json") and name.rsplit("/", 1)[-1].casefold() not in _OTHER_FILES
    }


def is_coco(value: Any) -> bool:
    """Return whether the content of a JSON file is a data set in COCO."""
    return isinstance(value, dict) and {"images", "annotations"} <= value.keys()


def read(files: FolderFiles, names: Sequence[str]) -> SceneLabels:
    """Return the labels of COCO files, such as one for each split.

    Args:
        files: of the folder of photos
        names: of the COCO files

    Raises:
        DataError: a file is damaged, or the files have different classes
    """
    classes: tuple[str, ...] | None = None
    scenes: dict[str, RawScene] = {}
    left_out = list(files.left_out)
    odd: Counter[str] = Counter()
    for name in sorted(names):
        value = read_json(files.others[name])
        try:
            of_file = _categories(value)
            if classes is not None and tuple(of_file.values()) != classes:
                raise DataError(
                    f"{name} has other categories than {sorted(names)[0]}; expected the same in all"
                    " files: export them together, or give one file."
                )
            classes = tuple(of_file.values())
            _read_file(value, name, files, list(of_file), scenes, left_out, odd)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{files.others[name]} is no COCO file of boxes ({type(error).__name__}:"
                f" {str(error)[:80]}); expected images, annotations and categories that belong"
                " together: export it once more."
            ) from error
    left_out += [(name, NOT_LISTED) for name in files.photos if name not in scenes]
    return place("coco", list(scenes.values()), classes or (), left_out, odd)


def _categories(value: Mapping[str, Any]) -> dict[Any, str]:
    """Return category_id -> name, of those categories that boxes may have.

    A parent without boxes of its own, which Roboflow puts first, is none.
    """
    listed = {one["id"]: one for one in value.get("categories", [])}
    used = {annotation.get("category_id") for annotation in value["annotations"]}
    parents = {str(one.get("supercategory", "")) for one in listed.values()}
    names = {
        key: str(one["name"])
        for key, one in listed.items()
        if key in used or str(one["name"]) not in parents or one.get("supercategory") == one["name"]
    }
    if len(set(names.values())) < len(names):
        raise ValueError("two categories of one name")
    return {} if set(names.values()) == {UNNAMED} else names


def _read_file(
    value: Mapping[str, Any],
    name: str,
    files: FolderFiles,
    categories: Sequence[Any],
    scenes: dict[str, RawScene],
    left_out: list[tuple[str, str]],
    odd: Counter[str],
) -> None:
    """Add the photos of one file to `scenes`, by name. Raises what a damaged file makes it."""
    beside = PurePosixPath(name).parent.as_posix()
    by_id: dict[Any, RawScene | None] = {}
    for image in value["images"]:
        if image["id"] in by_id:
            raise ValueError(f"two images with id {image['id']}")
        given = str(image["file_name"])
        found = files.find(given, "" if beside == "." else beside)
        by_id[image["id"]] = None
        if len(found) != 1:
            left_out.append((given, f"one of {len(found)} photos" if found else LISTED_ONLY))
        elif found[0].name in scenes:
            scenes[found[0].name].reason = "labelled twice, in one file or in two"
        else:
            size = number(image["width"]), number(image["height"])
            scene = RawScene(found[0], size)
            scenes[found[0].name] = by_id[image["id"]] = scene
    for annotation in value["annotations"]:
        if annotation["image_id"] not in by_id:
            raise ValueError(f"an annotation of image {annotation['image_id']}, not listed")
        if (owner := by_id[annotation["image_id"]]) is None:
            continue
        if annotation.get("iscrowd") and not annotation.get("ignore"):
            odd[CROWD] += 1
        elif "score" in annotation:
            owner.reason = SCORED
        else:
            _add(annotation, owner, categories)


def _add(annotation: Mapping[str, Any], owner: RawScene, categories: Sequence[Any]) -> None:
    """Add a product to its photo, or the reason why the photo cannot be used."""
    if categories and annotation["category_id"] not in categories:
        raise ValueError(f"category {annotation['category_id']}, which is not listed")
    label = categories.index(annotation["category_id"]) if categories else -1
    try:
        box = replace(_box(annotation, label), is_difficult=bool(annotation.get("ignore")))
        owner.boxes.append(box)
    except (ValueError, TypeError, KeyError) as error:
        owner.reason = f"a box that cannot be understood: {str(error)[:80]}"


def _box(annotation: Mapping[str, Any], label: int) -> RawBox:
    """Return a product. Raises ValueError, TypeError, KeyError."""
    corners = None
    attributes = annotation.get("attributes")
    if isinstance(attributes, dict) and not annotation.get("segmentation"):
        check_upright(str(attributes.get("rotation", 0)))
    if annotation.get("bbox"):
        left, top, width, height = map(number, annotation["bbox"])
        corners = (left, top, left + width, top + height)
    outline = annotation.get("segmentation")
    if isinstance(outline, dict):
        height, width = map(number, outline["size"])
        counts = outline["counts"]
        runs = (
            decode_text(counts)
            if isinstance(counts, str)
            else np.array([int(number(run)) for run in counts], np.int64)
        )
        return RawBox(label, corners, (), runs, (int(width), int(height)))
    polygons = tuple(polygon([*map(number, points)]) for points in outline or ())
    if corners is None and not polygons:
        raise ValueError("neither bbox nor segmentation")
    return RawBox(label, corners, polygons)


def document(
    scenes: Sequence[LabelledScene], classes: Sequence[str], description: str
) -> dict[str, Any]:
    """Return the content of a COCO file.

    Args:
        scenes: photos by their names; a box with a score below 1 gets a `score`
        classes: names of the boxes' classes, which count from 1; a box without a class is a
            `product`
        description: a sentence on where the boxes come from

    Raises:
        DataError: two photos have one name
    """
    named = Counter(scene.name for scene in scenes)
    if twice := [name for name, count in named.items() if count > 1]:
        raise DataError(
            f"Two photos are called {twice[0]}, and a COCO file tells photos by their names; give"
            " the folder that holds both of their folders."
        )
    has_unnamed = not classes or any((scene.boxes.classes < 0).any() for scene in scenes)
    names = [*classes, *([UNNAMED] if has_unnamed and UNNAMED not in classes else [])]
    annotations: list[dict[str, Any]] = []
    for image_id, scene in enumerate(scenes, start=1):
        for place_, corners in enumerate(scene.boxes.corners.tolist()):
            label = int(scene.boxes.classes[place_])
            left, top, right, bottom = corners
            outline = scene.outlines[place_] if scene.outlines else None
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": 1 + (label if label >= 0 else names.index(UNNAMED)),
                "bbox": [_plain(edge) for edge in (left, top, right - left, bottom - top)],
                "area": _plain((right - left) * (bottom - top)),
                "segmentation": _segmentation(outline, scene),
                "iscrowd": int(place_ in scene.difficult),
            }
            if place_ in scene.difficult:
                annotation["ignore"] = 1
            if (score := float(scene.boxes.scores[place_])) < 1:
                annotation["score"] = round(score, 6)
            annotations.append(annotation)
    return {
        "info": {"description": description},
        "licenses": [],
        "images": [
            {"id": image_id, "file_name": scene.name, "width": scene.width, "height": scene.height}
            for image_id, scene in enumerate(scenes, start=1)
        ],
        "annotations": annotations,
        "categories": [
            {"id": number_, "name": name, "supercategory": ""}
            for number_, name in enumerate(names, start=1)
        ],
    }


def _segmentation(outline: Outline | None, scene: LabelledScene) -> list[Any] | dict[str, Any]:
    if outline is None:
        return []
    if outline.bitmap is None:
        return [[_plain(value) for value in points.ravel().tolist()] for points in outline.polygons]
    assert outline.orientation == 1, "written for the photo as people see it"
    return {"size": [scene.height, scene.width], "counts": encode_text(outline.bitmap.tolist())}


def _plain(value: float) -> float | int:
    """Return a number of pixels with three decimals, without them if they are 0."""
    rounded = round(value, 3)
    return int(rounded) if rounded == int(rounded) else rounded
