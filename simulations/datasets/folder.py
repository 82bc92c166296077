"""The data set in a person's folder of photos or CSV file; see `common.images`."""

from functools import partial
from pathlib import Path

from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.layout import inspect_folders
from fedshelf.common.images.folder.photo_folder import FolderOptions, open_folder
from fedshelf.common.images.folder.scan import is_unlabelled
from fedshelf.common.images.listing.folder_entries import list_entries
from fedshelf.common.images.types import Images
from fedshelf.common.wording import format_list
from fedshelf.simulations.datasets.dataset.assemble import assemble
from fedshelf.simulations.datasets.dataset.types import Dataset, DatasetSource
from fedshelf.simulations.partitions import FOLDER_PARTITION


def source(path: Path, config: DataConfig) -> DatasetSource:
    """Return the data set of a person's photos, of any size and in colour.

    Args:
        path: a folder of photos, or a CSV file
        config: the settings of the data set

    Raises:
        DataError: the photos seem to be of several stores.
    """
    if path.is_dir() and config.partition != FOLDER_PARTITION:
        _check_depth(path, config.classes)
    return DatasetSource(path.resolve().name, None, 3, partial(_load, path, config), photos=path)


def _load(path: Path, config: DataConfig, form: PixelFormat) -> Dataset:
    folder = open_folder(
        path,
        image_size=form.image_size,
        channels=form.channels,
        denoise=form.denoise,
        options=FolderOptions(config.split, config.classes),
    )
    splits: dict[str, Images] = dict(folder.splits.items())
    if not len(splits["train"]) and folder.given_splits:
        raise DataError(
            f"{path} has images of the {format_list(sorted(folder.given_splits))} split only;"
            " expected some to train on: call their folder (or split) train, or give the folders"
            " of classes themselves."
        )
    is_worth_a_word = (
        folder.left_out or folder.unopened_photos or folder.untrained_classes() or folder.notes
    )
    return assemble(path.name, folder.classes, splits, folder.summary() if is_worth_a_word else "")


def _check_depth(path: Path, classes: tuple[str, ...]) -> None:
    """Check that the photos do not all lie one folder too deep, as in a folder of stores.

    Args:
        path: the folder
        classes: names that are known to be classes, whose photos may lie at any depth

    Raises:
        DataError: they do.
    """
    folders = [
        entry
        for entry in list_entries(path, path.name, [])
        if entry.is_folder and not is_unlabelled(entry.name)
    ]
    inside = inspect_folders(folders)
    others = [inner for inner in inside if inner.split != "test"]
    if not others or any(
        inner.split or not inner.is_nested or inner.name in classes for inner in others
    ):
        return
    first = others[0]
    names = format_list([inner.name for inner in others])
    whole = f"if it is the whole data set, give {first.path}"
    splits = (
        "if they are splits, call them train, val and test, with the folders of classes right"
        " inside"
    )
    raise DataError(
        f"{path} holds no photos of classes but folders of folders ({names}; {first.name} holds"
        f" {format_list(first.folders)}); expected {path.name}/shirt/1.jpg: if each of them is a"
        f" store, add --partition folder; {splits if others[1:] else whole}; if each is a class,"
        " name them in data.classes (--classes)."
    )
