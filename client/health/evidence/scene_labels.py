"""The labels of a folder of scenes as the checks see them, and its photos in the form of a scan."""

from dataclasses import replace
from pathlib import Path

from fedshelf.common.images.folder.scan import Photo, Scan
from fedshelf.common.scenes.formats.labelled_scene import SceneLabels
from fedshelf.common.scenes.formats.read import is_scene_folder, read_scenes


def labels_of(data: Path) -> SceneLabels | None:
    """Return the labels of a folder of scenes, or of a COCO file; None: it has no such labels.

    Raises:
        DataError: its labels cannot be understood
    """
    try:
        is_scenes = is_scene_folder(data)
    except OSError:
        return None  # the scan of classes says which folder cannot be read
    return read_scenes(data) if is_scenes else None


def scan_of(labels: SceneLabels) -> Scan:
    """Return the list of the scenes' photos, which have no class."""
    photos = (Photo(scene.name, scene.path, "", scene.split) for scene in labels.scenes)
    return Scan(tuple(photos), frozenset(), labels.left_out)


def labels_of_usable(labels: SceneLabels, names: set[str]) -> SceneLabels:
    """Return the labels of the photos that can be decoded."""
    return replace(labels, scenes=tuple(each for each in labels.scenes if each.name in names))
