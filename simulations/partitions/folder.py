"""Existing stores: each sub-folder of a folder is a store's folder of photos.

    chain/
      paris/shirt/1.jpg     a store, as `flower-client` takes it: classes, or splits with classes
      rome/shirt/7.jpg
      test/shirt/3.jpg      optional: the server's own test set; by any name that means test

`flower-simulation split` writes this layout. A CSV file with a column `store` says the same in its
lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fedshelf.common.classes.spelling import choose_spellings
from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.layout import format_names, inspect_folders
from fedshelf.common.images.folder.photo_folder import FolderOptions, PhotoFolder, open_folder
from fedshelf.common.images.folder.scan import is_table, scan
from fedshelf.common.images.listing.folder_entries import ListedEntry
from fedshelf.common.images.listing.split_names import split_named
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.names import check_store_name
from fedshelf.common.scenes.folder.scene_photos import open_scene_photos
from fedshelf.common.tasks import TASKS, SceneTask
from fedshelf.common.tasks.turns import as_rotation_task
from fedshelf.simulations.datasets.dataset.assemble import relabel

TEST = "test"


@dataclass(frozen=True)
class StoreFolders:
    """Stores by name, in order of their names; the server's test set; a line per store that left
    files out.
    """

    stores: dict[str, StoreData]
    classes: tuple[str, ...]
    test: Images | None
    left_out: str


def open_stores(
    path: Path, pixel_format: PixelFormat, data: DataConfig, objective: str = "classes"
) -> StoreFolders:
    """Open each sub-folder of `path`, or each store that a CSV file names, as a store.

    The classes are `data.classes`, or all classes of the stores, sorted.

    objective: the run's task; turns use photos without a class, too, and boxes and masks are of
        folders of scenes

    Raises DataError if there are no sub-folders, if they are classes or the splits of one data
    set, or if a store has no usable photo, fewer than `data.min_images` for training or an unknown
    class; ConfigError for an unusable name.
    """
    classes = TASKS[objective].own_classes(data.classes) or data.classes
    names = _names_in_table(path) if is_table(path) else _names_of_folders(path)
    test = _check_names(path, names)
    if not is_table(path) and not isinstance(TASKS[objective], SceneTask):
        _check_are_stores(path, names, classes)
    folder_of_store = {name: _open(path, name, pixel_format, data, objective) for name in names}
    classes = classes or _merge_classes(folder_of_store, test, merge=data.merge_spellings)
    test_folder = folder_of_store.pop(test, None)
    stores = {
        check_store_name(name): _store(name, folder, classes, data)
        for name, folder in folder_of_store.items()
    }
    images = _all_photos(test_folder, classes, merge=data.merge_spellings) if test_folder else None
    summarized = folder_of_store | ({test: test_folder} if test_folder else {})
    left_out = "\n".join(
        f"{name}: {folder.summary()}"
        for name, folder in summarized.items()
        if folder.left_out or folder.unopened_photos
    )
    return StoreFolders(stores, classes, images, left_out)


def _merge_classes(
    folder_of_store: Mapping[str, PhotoFolder], test: str, *, merge: bool
) -> tuple[str, ...]:
    """Return all classes, sorted; the images of the folder `test` do not count for the choice of a
    spelling.

    Raises DataError for spellings that are not to be merged.
    """
    owners = {}
    for name, folder in folder_of_store.items():
        counts = folder.splits["train"].targets().bincount(minlength=len(folder.classes)).tolist()
        owners[name] = (
            dict.fromkeys(folder.classes, 0)
            if name == test
            else dict(zip(folder.classes, counts, strict=True))
        )
    return tuple(sorted(set(choose_spellings(owners, merge=merge).values())))


def _names_of_folders(path: Path) -> list[str]:
    return sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def _names_in_table(path: Path) -> list[str]:
    """Return the stores that a CSV file names. Raises DataError if a photo has none."""
    photos = scan(path).photos
    without = [photo.name for photo in photos if not photo.store]
    if without:
        got = (
            "no column store"
            if len(without) == len(photos)
            else f"none for {len(without)}, such as {without[0]}"
        )
        raise DataError(
            f"Partition folder expects {path} to name a store for each photo; it has {got}."
        )
    return sorted({photo.store for photo in photos})


def _check_names(path: Path, names: list[str]) -> str:
    """Return the name of the server's test folder, empty if there is none.

    Raises DataError if any is no store.
    """
    splits = [name for name in names if split_named(name)]
    if len(splits) == len(names):
        got = (
            f"only {', '.join(names)}, which are the splits of one data set"
            if names
            else "no sub-folder"
        )
        raise DataError(
            f"Partition folder expects a sub-folder per store in {path}, such as paris/shirt/1.jpg;"
            f" it has {got}."
        )
    if wrong := [name for name in splits if split_named(name) != TEST] or splits[1:]:
        raise DataError(
            f"Partition folder found {format_names(wrong)} beside the stores in {path}, called like"
            " a split of a data set; expected stores, and at most one test folder for the server:"
            " rename it, or move it away."
        )
    return splits[0] if splits else ""


def _check_are_stores(path: Path, names: list[str], classes: tuple[str, ...]) -> None:
    """Check that no folder that should be a store holds photos as a class does; raise DataError if
    one does.
    """
    inside = inspect_folders(ListedEntry(name, path / name, is_folder=True) for name in names)
    flat = [folder.name for folder in inside if folder.has_photos and not folder.folders]
    if not flat:
        return
    if len(flat) == len(inside) or set(flat) <= set(classes):
        way = (
            "leave --partition folder out, and the folders are classes, or put them into a folder"
            " per store"
        )
    else:
        way = "put its photos into class folders, or move it away"
    raise DataError(
        f"Partition folder expects class folders in each store of {path}, such as"
        f" paris/shirt/1.jpg; {format_names(flat)} hold{'s' if len(flat) == 1 else ''} photos"
        f" directly: {way}."
    )


def _open(
    path: Path, name: str, pixel_format: PixelFormat, data: DataConfig, objective: str
) -> PhotoFolder:
    if isinstance(task := TASKS[objective], SceneTask):
        try:
            return open_scene_photos(
                path / name, pixel_format, data.split, task.name, task.scene_classes(data)
            )
        except DataError as error:  # its sentence names files within the store's folder
            raise type(error)(f"Store {name}: {error}") from error
    turns = objective == "turns"
    store = name if is_table(path) else None
    folder = open_folder(
        path if store else path / name,
        image_size=pixel_format.image_size,
        channels=pixel_format.channels,
        denoise=pixel_format.denoise,
        unlabelled=turns,
        options=FolderOptions(data.split, () if turns else data.classes, store),
    )
    return as_rotation_task(folder) if turns else folder


def _store(
    name: str, folder: PhotoFolder, classes: tuple[str, ...], config: DataConfig
) -> StoreData:
    owner = f"Store {name}"
    merge = config.merge_spellings
    data = StoreData(
        *(
            relabel(folder.splits[split], folder.classes, classes, owner, merge=merge)
            for split in ("train", "validation", "test")
        )
    )
    if len(data.train) < config.min_images:
        raise DataError(
            f"Store {name} has {len(data.train)} training images ({folder.summary()}); "
            f"at least {config.min_images} are expected (data.min_images)."
        )
    return data


def _all_photos(folder: PhotoFolder, classes: tuple[str, ...], *, merge: bool) -> Images:
    """Return all photos of a folder as one set, whatever its splits."""
    splits = list(folder.splits.values())
    rows = torch.cat([images.rows for images in splits]).sort().values
    images = splits[0].at(rows)
    return relabel(images, folder.classes, classes, "The test folder", merge=merge)
