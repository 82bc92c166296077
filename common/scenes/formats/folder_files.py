"""All files below a folder of scenes, sorted by what they may be."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from fedshelf.common.images.listing.folder_entries import LeftOut, is_photo, walk_files
from fedshelf.common.images.listing.split import Split
from fedshelf.common.images.listing.split_names import split_named
from fedshelf.common.scenes.formats.raw_labels import PhotoFile

_MASK_FOLDERS = {"masks", "segmentationclass"}
_ITEM_FOLDER = "segmentationobject"  # pictures of single items, which no reader here uses
_PHOTO_FOLDERS = {"images", "jpegimages", "photos", "data", "default"}  # the last one is CVAT's
_CVAT_FOLDER = re.compile(r"obj_(\w+)_data")  # of the photos and labels of a subset, in YOLO 1.1
NO_PHOTO = "labels without a photo"
NOT_LABELLED = "no labels (a file without boxes would say that there is no product)"
# a text or XML file with a photo's boxes; a larger one is something else
MAX_LABEL_BYTES = 4 * 2**20


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder.

    Attributes:
        root: the folder
        photos: name -> photo; names are relative to the root, with slashes
        others: name -> every file that is no photo
        masks: name -> pictures in folders of masks
        left_out: (name, reason) of folders that cannot be read
    """

    root: Path
    photos: dict[str, PhotoFile]
    others: dict[str, Path]
    masks: dict[str, Path]
    left_out: LeftOut

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """The names of photos by their last part without its ending."""
        groups: dict[str, list[str]] = {}
        for name in self.photos:
            groups.setdefault(PurePosixPath(name).stem, []).append(name)
        return groups

    def find(self, given: str, beside: str) -> list[PhotoFile]:
        """Return the photos that a label file may mean by a name.

        Nothing outside the folder is ever meant: the name is looked up among the photos in it.

        Args:
            given: the name in the label file, with any folders of the machine that wrote it
            beside: folder of the label file, relative to the root; "" is the root itself
        """
        parts = [part for part in given.replace("\\", "/").split("/") if part not in ("", ".")]
        alike = self.by_stem.get(PurePosixPath(parts[-1]).stem, []) if parts else []
        for first in range(len(parts)):
            end = "/".join(parts[first:])
            for folder in _nearby(beside):
                photo = self.photos.get(f"{folder}{end}")
                if photo and (not first or _says_nothing(photo.name, end)):
                    return [photo]
            found = [
                self.photos[name]
                for name in alike
                if f"/{name}".endswith(f"/{end}") and (not first or _says_nothing(name, end))
            ]
            if found:
                return found
        return []


def _says_nothing(name: str, end: str) -> bool:
    """Return whether the folders of a photo before `end` could be those of any photo.

    shop/1.jpg is not other/1.jpg, but images/1.jpg and train/1.jpg may be.
    """
    folders = name[: len(name) - len(end)].split("/")[:-1]
    return all(_is_usual(folder) for folder in folders)


def _is_usual(folder: str) -> bool:
    """Return whether a folder's name says no more than that it holds photos, or of which split."""
    name = folder.casefold()
    return name in _PHOTO_FOLDERS or bool(_CVAT_FOLDER.fullmatch(name) or split_named(name))


def _nearby(folder: str) -> Iterator[str]:
    """Yield prefixes of the places where the photos of labels in a folder usually lie."""
    above = PurePosixPath(folder).parent.as_posix() if folder else ""
    for place in dict.fromkeys([folder, "" if above == "." else above]):
        start = f"{place}/" if place else ""
        yield from (start, f"{start}images/", f"{start}JPEGImages/")


def without_usual_folders(name: str) -> tuple[str, ...]:
    """Return the folders of a photo or mask that say more than that it is one, and its stem.

    >>> without_usual_folders("train/images/1.jpg") == without_usual_folders("train/masks/1.png")
    True
    """
    path = PurePosixPath(name)
    usual = _MASK_FOLDERS | _PHOTO_FOLDERS
    return (*(folder for folder in path.parts[:-1] if folder.casefold() not in usual), path.stem)


def has_class_folders(root: Path) -> bool:
    """Return whether a photo lies in a folder whose name says more than that it holds photos."""
    names = (
        full_name[len(root.name) + 1 :]
        for full_name, _ in walk_files(root, root.name, set(), [])
        if is_photo(full_name)
    )
    masks = {*_MASK_FOLDERS, _ITEM_FOLDER}
    return any(
        not _is_usual(folder) and folder.casefold() not in masks
        for name in names
        for folder in name.split("/")[:-1]
    )


def list_files(root: Path) -> FolderFiles:
    """List a folder with all that is below it; links are followed."""
    files = FolderFiles(root, {}, {}, {}, [])
    for full_name, path in walk_files(root, root.name, set(), files.left_out):
        name = full_name[len(root.name) + 1 :]
        folders = PurePosixPath(name).parts[:-1]
        above = {folder.casefold() for folder in folders}
        if is_photo(name) and _ITEM_FOLDER in above:
            continue
        if is_photo(name) and above & _MASK_FOLDERS:
            files.masks[name] = path
        elif is_photo(name):
            files.photos[name] = PhotoFile(name, path, _split(folders))
        elif _is_special(path):
            files.left_out.append((name, "no plain file"))
        else:
            files.others[name] = path
    return files


def _is_special(path: Path) -> bool:
    """Return whether this is a pipe, socket or device, which may have no end."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False  # the reader says what is wrong


def _split(folders: tuple[str, ...]) -> Split | None:
    """Return the split that the names of folders say; None: none, or two different ones."""
    subsets = [_CVAT_FOLDER.sub(r"\1", folder.casefold()) for folder in folders]
    named = {split for folder in subsets if (split := split_named(folder))}
    return next(iter(named)) if len(named) == 1 else None
