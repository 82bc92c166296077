"""Reading of a folder of scenes: which format it is in is found out, or asked."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.scenes.formats import coco, mask_folder, voc, yolo
from fedshelf.common.scenes.formats.folder_files import (
    FolderFiles,
    has_class_folders,
    list_files,
)
from fedshelf.common.scenes.formats.labelled_scene import SceneLabels
from fedshelf.common.system.documents import read_json
from fedshelf.common.wording import format_list

EXPECTED = (
    "labels of boxes: YOLO (images/1.jpg, labels/1.txt, classes.txt), one COCO file (JSON), or"
    " Pascal VOC (1.xml for 1.jpg); or, for train.objective=masks, masks/1.png for images/1.jpg"
)


def read_scenes(path: Path) -> SceneLabels:
    """Read all labels of a folder, or those of one COCO file in it.

    Args:
        path: a folder of photos and labels, or a COCO file with its photos beside or below it

    Raises:
        DataError: there are none, or those of several formats; or a file is damaged as a whole
    """
    if path.is_file() and path.suffix.lower() == ".json":
        files = list_files(path.parent)
        return _with_masks(coco.read(files, [path.name]), files)
    if not path.is_dir():
        got = "is neither a folder nor a COCO file" if path.exists() else "does not exist"
        if zipfile.is_zipfile(path):
            got = "is a ZIP file, which must be unpacked first"
        raise DataError(f"{path} {got}; expected a folder with {EXPECTED}.")
    files = list_files(path)
    readers = _readers(files)
    if len(readers) > 1:
        raise DataError(
            f"{path} has labels in {format_list(sorted(readers))}, and nothing says which count;"
            " expected one format: move the others away, or give the COCO file itself."
        )
    if not readers and files.masks:
        readers["masks"] = mask_folder.read
    if not readers:
        raise DataError(f"{path} has no labels of boxes; expected {EXPECTED}.")
    (read,) = readers.values()
    return _with_masks(read(files), files)


def is_scene_folder(path: Path) -> bool:
    """Return whether a folder, or a JSON file, has labels of boxes or masks, and no folders of
    classes.

    Photos of single products may have text files beside them, too; they lie in folders of classes.
    """
    if path.is_file():
        return path.suffix.lower() == ".json" and _is_coco(path)
    if not path.is_dir() or has_class_folders(path):
        return False
    files = list_files(path)
    return bool(files.masks or _readers(files))


def has_boxes(path: Path) -> bool:
    """Return whether a folder of scenes has labels of boxes; if not, it has masks alone."""
    return bool(_readers(list_files(path)))


def _readers(files: FolderFiles) -> dict[str, Callable[[FolderFiles], SceneLabels]]:
    """Return format -> reader, for each format that the folder has."""
    found: dict[str, Callable[[FolderFiles], SceneLabels]] = {}
    documents = [name for name, path in coco.label_files(files).items() if _is_coco(path)]
    if documents:
        found["COCO"] = lambda files: coco.read(files, documents)
    if yolo.label_files(files):
        found["YOLO"] = yolo.read
    if voc.label_files(files):
        found["Pascal VOC"] = voc.read
    return found


def _is_coco(path: Path) -> bool:
    try:
        return coco.is_coco(read_json(path))
    except DataError as error:
        # a damaged file of labels must not be passed over
        raise DataError(f"{error} Move it away if it has no labels.") from error


def _with_masks(labels: SceneLabels, files: FolderFiles) -> SceneLabels:
    """Return the labels with the masks that lie in a folder of their own."""
    if not files.masks:
        return labels
    masks = mask_folder.masks_by_photo(files)
    scenes = (replace(scene, mask=masks.get(scene.name)) for scene in labels.scenes)
    return replace(labels, scenes=tuple(scenes))
