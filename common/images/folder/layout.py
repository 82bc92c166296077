"""The layout of a folder of photos: class folders, or class folders inside the splits of a data
set.

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
from fedshelf.common.images.listing.listing import ListedEntry, has_photos, is_photo, list_entries
from fedshelf.common.images.listing.split import Split
from fedshelf.common.images.listing.split_names import split_named

_JUST_IMAGES = {
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
_NAMED = 5  # a sentence names so many folders; it only counts the rest


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
    found = []
    for folder in folders:
        inside = list_entries(folder.path, folder.name, [])
        below = tuple(entry.name for entry in inside if entry.is_folder and has_photos(entry.path))
        direct = any(is_photo(entry.name) for entry in inside if not entry.is_folder)
        if direct or below:
            found.append(FolderContents(folder.name, folder.path, direct, below))
    return found


def split_folders(
    root: Path, folders: Sequence[ListedEntry], classes: Collection[str]
) -> dict[str, Split]:
    """Return name -> split of the folders directly in `root` that hold the classes of a split; {}:
    they are classes.

    classes: names that are known to be classes, even if they could be those of splits

    Raises DataError for an arrangement that could be read in two ways.
    """
    inside = inspect_folders(folders)
    splits = [each for each in inside if each.split and each.folders]
    flat = [each for each in inside if each.split and not each.folders]
    others = [each for each in inside if not each.split]
    if splits:
        _check_splits(root, splits, flat)
        _check_strays(root, splits, others)
        return {folder.name: split for folder in folders if (split := split_named(folder.name))}
    if unclear := [each for each in flat if each.name not in classes]:
        raise DataError(_flat(root, unclear, [each for each in inside if each not in unclear]))
    _check_classes(root, inside)
    return {}


def _check_splits(
    root: Path, splits: Sequence[FolderContents], flat: Sequence[FolderContents]
) -> None:
    counts = Counter(each.split for each in (*splits, *flat))
    for split, count in counts.items():
        if count > 1:
            names = format_names([each.name for each in (*splits, *flat) if each.split == split])
            raise DataError(
                f"{root} has {names}, which all mean the {split} split; expected one folder for"
                " each split: put their photos together, or rename what is none."
            )
    if flat:
        raise DataError(
            f"{root}: {format_names([each.name for each in splits])} {_hold(splits)} class folders,"
            f" but {format_names([each.name for each in flat])} {_hold(flat)} photos only; expected"
            " class folders in each: sort those photos into class folders, or move that folder"
            " away."
        )
    for each in splits:
        _check_class_folders(root, each)


def _check_class_folders(root: Path, split: FolderContents) -> None:
    """Raise DataError if the folders in a split are no classes, or hold splits once more."""
    for each in inspect_folders(
        entry for entry in list_entries(split.path, split.name, []) if entry.is_folder
    ):
        if splits := [name for name in each.folders if split_named(name)]:
            raise DataError(
                f"{root}: {split.name}/{each.name} holds {format_names(splits)}, called like a"
                f" split of a data set, within {split.name}; expected photos of one split only:"
                f" move them to {splits[0]}/{each.name}, or rename the folder."
            )
    if split.has_photos or len(split.folders) > 1:
        return
    (only,) = split.folders
    if (
        only.casefold() in _JUST_IMAGES
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
    """Raise DataError if folders beside those of splits may be classes; others are left out and
    counted.
    """
    classes = [{normalize_name(name) for name in each.folders} for each in splits]
    agree = any(one & other for one, other in combinations(classes, 2))
    alike = [
        each for each in others if any(normalize_name(each.name) in names for names in classes)
    ]
    if doubtful := alike if agree else others:
        raise DataError(
            f"{root} has {format_names([each.name for each in splits])}, which {_hold(splits)}"
            f" class folders, beside {format_names([each.name for each in doubtful])}; expected"
            " either folders of splits or folders of classes: move the latter into the former, or"
            " away."
        )


def _check_classes(root: Path, inside: Sequence[FolderContents]) -> None:
    """Raise DataError if folders that are taken for classes hold the splits, or are one folder of
    all images.
    """
    for each in inside:
        if splits := [name for name in each.folders if split_named(name)]:
            raise DataError(
                f"{root}: {each.name} holds {format_names(splits)}, as a data set does; if"
                f" {each.name} is the data set, give {each.path}; if it is a product class, put the"
                f" split above it: {splits[0]}/{each.name}."
            )
    if len(inside) == 1 and inside[0].name.casefold() in _JUST_IMAGES:
        (only,) = inside
        way = (
            f"give {only.path}"
            if only.is_nested
            else "sort the photos, or give a CSV file of image,label"
        )
        raise DataError(
            f"{root} holds its photos in one folder, {only.name}, which is no product class;"
            f" expected a folder per class, such as {root.name}/shirt/1.jpg: {way}."
        )


def _flat(root: Path, flat: Sequence[FolderContents], others: Sequence[FolderContents]) -> str:
    """Return the sentence about folders that are called like splits and hold photos without class
    folders.
    """
    names = format_names([each.name for each in flat])
    if not others:
        return (
            f"{root}: {names} {_hold(flat)} photos but no class folders; expected"
            f" {flat[0].name}/shirt/1.jpg: sort the photos into class folders."
        )
    return (
        f"{root} has {names}, called like a split of a data set, beside"
        f" {format_names([each.name for each in others])}; expected either folders of classes or"
        " folders of splits: move the photos of a split away, or rename the folder (or name it in"
        " data.classes, at a store in its policy's classes) if it is a product class."
    )


def format_names(names: Sequence[str]) -> str:
    """Return names for a sentence: "a, b and c"; of more than a few, the first ones and the number
    of the others.
    """
    if len(names) > _NAMED:
        return wording.format_first(names, _NAMED)
    return wording.format_list(names)


def _hold(folders: Sequence[FolderContents]) -> str:
    return "holds" if len(folders) == 1 else "hold"
