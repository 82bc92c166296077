"""The layout of a folder of photos: class folders, or class folders inside splits of a data set.

    hat/1.jpg   shirt/1.jpg               classes
    train/hat/1.jpg   test/hat/2.jpg      splits, in any case and by any name of `split_names`

A layout that could be read in two ways is refused: a class "Training" that nobody sells would spoil
every score unnoticed.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from fedshelf.common import wording
from fedshelf.common.classes.spelling import normalize_name
from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.folder_entries import (
    ListedEntry,
    has_photos,
    is_photo,
    list_entries,
)
from fedshelf.common.images.listing.split import Split
from fedshelf.common.images.listing.split_names import split_named

# names of folders that hold all images of a data set
_NO_CLASS_NAMES = {
    "image",
    "images",
    "img",
    "imgs",
    "photo",
    "photos",
    "picture",
    "pictures",
    "jpegimages",
}
_MAX_NAMES = 5  # a sentence names so many folders; it only counts the rest


@dataclass(frozen=True)
class FolderContents:
    """A folder of photos, one level deep.

    has_photos: True if photos lie directly in it
    folders:    names of those of its sub-folders that have photos, at any depth
    """

    name: str
    path: Path
    has_photos: bool
    folders: tuple[str, ...]

    @property
    def split(self) -> Split | None:
        """The split that its name means, if any."""
        return split_named(self.name)

    @property
    def is_nested(self) -> bool:
        """True if all its photos lie in sub-folders."""
        return bool(self.folders) and not self.has_photos


def inspect_folders(folders: Iterable[ListedEntry]) -> list[FolderContents]:
    """Return those of the folders that have photos, at any depth."""
    contents = []
    for folder in folders:
        entries = list_entries(folder.path, folder.name, [])
        photo_folders = tuple(
            entry.name for entry in entries if entry.is_folder and has_photos(entry.path)
        )
        has_own = any(is_photo(entry.name) for entry in entries if not entry.is_folder)
        if has_own or photo_folders:
            contents.append(FolderContents(folder.name, folder.path, has_own, photo_folders))
    return contents


def split_folders(
    root: Path, folders: Sequence[ListedEntry], classes: Collection[str]
) -> dict[str, Split]:
    """Return the split of each folder that holds the classes of one.

    Args:
        root: the folder of photos
        folders: the folders directly in it
        classes: names that are known to be classes, even if they could be those of splits

    Returns:
        name -> split; {} if the folders are classes themselves

    Raises:
        DataError: an arrangement that could be read in two ways
    """
    contents = inspect_folders(folders)
    splits = [folder for folder in contents if folder.split and folder.folders]
    flat = [folder for folder in contents if folder.split and not folder.folders]
    others = [folder for folder in contents if not folder.split]
    if splits:
        _check_splits(root, splits, flat)
        _check_strays(root, splits, others)
        return {folder.name: split for folder in folders if (split := split_named(folder.name))}
    unclear = [folder for folder in flat if folder.name not in classes]
    if unclear:
        raise DataError(
            _flat_sentence(root, unclear, [folder for folder in contents if folder not in unclear])
        )
    _check_classes(root, contents)
    return {}


def _check_splits(
    root: Path, splits: Sequence[FolderContents], flat: Sequence[FolderContents]
) -> None:
    counts = Counter(folder.split for folder in (*splits, *flat))
    for split, count in counts.items():
        if count > 1:
            names = format_names(
                [folder.name for folder in (*splits, *flat) if folder.split == split]
            )
            raise DataError(
                f"{root} has {names}, which all mean the {split} split; expected one folder for"
                " each split: put their photos together, or rename the folder that is no"
                " split."
            )
    if flat:
        raise DataError(
            f"{root}: {_names_of(splits)} {_hold(splits)} class folders,"
            f" but {_names_of(flat)} {_hold(flat)} photos only; expected"
            " class folders in each: sort those photos into class folders, or move that folder"
            " away."
        )
    for folder in splits:
        _check_class_folders(root, folder)


def _check_class_folders(root: Path, split: FolderContents) -> None:
    """Raise DataError if the folders in a split are no classes, or hold splits once more."""
    for folder in inspect_folders(
        entry for entry in list_entries(split.path, split.name, []) if entry.is_folder
    ):
        if splits := [name for name in folder.folders if split_named(name)]:
            raise DataError(
                f"{root}: {split.name}/{folder.name} holds {format_names(splits)}, called like a"
                f" split of a data set, within {split.name}; expected photos of one split only:"
                f" move them to {splits[0]}/{folder.name}, or rename the folder."
            )
    if split.has_photos or len(split.folders) > 1:
        return
    (only,) = split.folders
    if (
        only.casefold() in _NO_CLASS_NAMES
        or split_named(only)
        or normalize_name(only) == normalize_name(split.name)
    ):
        raise DataError(
            f"{root}: {split.name} holds one folder, {only}, which is no product class; expected a"
            f" folder per class, such as {split.name}/shirt/1.jpg: sort the photos into class"
            " folders, or give a CSV file of image,label."
        )


def _check_strays(
    root: Path, splits: Sequence[FolderContents], others: Sequence[FolderContents]
) -> None:
    """Raise DataError if folders beside those of splits may be classes.

    Others are left out and counted.
    """
    classes = [{normalize_name(name) for name in folder.folders} for folder in splits]
    # splits that have a class in common surely are splits
    has_common_class = any(one & other for one, other in combinations(classes, 2))
    alike = [
        folder
        for folder in others
        if any(normalize_name(folder.name) in names for names in classes)
    ]
    doubtful = alike if has_common_class else others
    if doubtful:
        raise DataError(
            f"{root} has {_names_of(splits)}, which {_hold(splits)}"
            f" class folders, beside {_names_of(doubtful)}; expected"
            " either folders of splits or folders of classes: move the latter into the former, or"
            " away."
        )


def _check_classes(root: Path, folders: Sequence[FolderContents]) -> None:
    """Raise DataError if folders taken for classes hold splits, or are one folder of all images."""
    for folder in folders:
        if splits := [name for name in folder.folders if split_named(name)]:
            raise DataError(
                f"{root}: {folder.name} holds {format_names(splits)}, as a data set does; if"
                f" {folder.name} is the data set, give {folder.path}; if it is a product class, put"
                f" the split above it: {splits[0]}/{folder.name}."
            )
    if len(folders) == 1 and folders[0].name.casefold() in _NO_CLASS_NAMES:
        (only,) = folders
        way = (
            f"give {only.path}"
            if only.is_nested
            else "sort the photos, or give a CSV file of image,label; to find products on scenes,"
            " put labels of boxes beside them (YOLO, COCO or Pascal VOC) and set"
            " train.objective=boxes"
        )
        raise DataError(
            f"{root} holds its photos in one folder, {only.name}, which is no product class;"
            f" expected a folder per class, such as {root.name}/shirt/1.jpg: {way}."
        )


def _flat_sentence(
    root: Path, flat: Sequence[FolderContents], others: Sequence[FolderContents]
) -> str:
    """Return the sentence about folders called like splits that have photos, but no classes."""
    names = _names_of(flat)
    if not others:
        return (
            f"{root}: {names} {_hold(flat)} photos but no class folders; expected"
            f" {flat[0].name}/shirt/1.jpg: sort the photos into class folders."
        )
    return (
        f"{root} has {names}, called like a split of a data set, beside"
        f" {_names_of(others)}; expected either folders of classes or"
        " folders of splits: move the photos of a split away, or rename the folder (or name it in"
        " data.classes, at a store in its policy's classes) if it is a product class."
    )


def format_names(names: Sequence[str]) -> str:
    """Return names for a sentence: "a, b and c", or the first ones "and 7 more"."""
    if len(names) > _MAX_NAMES:
        return wording.format_first(names, _MAX_NAMES)
    return wording.format_list(names)


def _names_of(folders: Sequence[FolderContents]) -> str:
    return format_names([folder.name for folder in folders])


def _hold(folders: Sequence[FolderContents]) -> str:
    return "holds" if len(folders) == 1 else "hold"
