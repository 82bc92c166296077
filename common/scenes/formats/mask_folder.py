"""Masks in a folder of their own, beside boxes or alone.

    images/1.jpg       masks/1.png
    JPEGImages/1.jpg   SegmentationClass/1.png   labelmap.txt   CVAT's "Segmentation mask"

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-smask/.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path, PurePosixPath

from fedshelf.common.errors import DataError
from fedshelf.common.scenes.formats.folder_files import FolderFiles, without_usual_folders
from fedshelf.common.scenes.formats.label_map import BACKGROUND, LABEL_MAP, read_label_map
from fedshelf.common.scenes.formats.labelled_scene import MASKS_ALONE, UNNAMED, SceneLabels
from fedshelf.common.scenes.formats.placing import place
from fedshelf.common.scenes.formats.raw_labels import RawScene


def masks_by_photo(files: FolderFiles) -> dict[str, Path]:
    """Return photo -> mask, where names say that one mask is of one photo and of no other.

    images/train/1.jpg has masks/train/1.png; it has masks/1.png if no other photo is called 1.
    """
    found: dict[str, Path] = {}
    for key in (_stem, without_usual_folders):
        photos, masks = _grouped(files.photos, key), _grouped(files.masks, key)
        for group, names in photos.items():
            if len(names) == len(masks.get(group, [])) == 1:
                found[names[0]] = files.masks[masks[group][0]]
    return found


def read(files: FolderFiles) -> SceneLabels:
    """Return the photos that have a mask, without boxes; the masks are not among the labels yet.

    Raises:
        DataError: two lists of classes differ, or one cannot be read
    """
    masks = masks_by_photo(files)
    used = set(masks.values())
    left_out = [
        *files.left_out,
        *((name, "no mask of its own") for name in files.photos if name not in masks),
        *((name, "a mask of no photo") for name, path in files.masks.items() if path not in used),
    ]
    scenes = [RawScene(files.photos[name], None) for name in masks]
    return place(MASKS_ALONE, scenes, _classes(files), left_out, Counter())


def _classes(files: FolderFiles) -> tuple[str, ...]:
    """Return the names of the classes, without the background. Raises DataError."""
    listings = {
        tuple(name for name in read_label_map(path) if name != BACKGROUND)
        for name, path in files.others.items()
        if PurePosixPath(name).name == LABEL_MAP
    }
    if len(listings) > 1:
        raise DataError(
            f"{files.root} has {len(listings)} files {LABEL_MAP} with different classes; expected"
            " the same in each."
        )
    classes = next(iter(listings), ())
    return () if set(classes) <= {UNNAMED} else classes


def _stem(name: str) -> str:
    return PurePosixPath(name).stem


def _grouped(names: Iterable[str], key: Callable[[str], Hashable]) -> dict[Hashable, list[str]]:
    groups: dict[Hashable, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups
