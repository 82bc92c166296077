"""Scan of a store's folder, or a CSV file of photos: files that may be photos, and their classes.

A scan reads names only, and a CSV file; which files are photos shows when they are decoded.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.layout import split_folders
from fedshelf.common.images.listing.folder_entries import (
    LeftOut,
    ListedEntry,
    folder_identity,
    list_entries,
    valid_text,
    walk_files,
)
from fedshelf.common.images.listing.split import HeldOut, Split, SplitRule, splits_by_content
from fedshelf.common.images.listing.tables import read_table

LAYOUT = (
    "one sub-folder per product class, such as {0}/shirt/1.jpg, or a CSV file with a line"
    " IMAGE,LABEL per photo (or, to learn boxes, photos of scenes with labels of boxes)"
)
TABLE_LAYOUT = "a line IMAGE,LABEL per photo, with paths relative to the folder of the CSV file"

UNLABELLED = "unlabelled"
_UNLABELLED_NAMES = {UNLABELLED, "unlabeled"}
OUTSIDE_CLASSES = "not in a class folder"
OUTSIDE_SPLITS = "not in train, validation or test"


@dataclass(frozen=True)
class Photo:
    """A file that may be a photo.

    name:  path relative to the folder, with slashes, Unicode form NFC: the same on every disk
    label: class name, NFC
    split: the split that its sub-folder or the CSV file names, or None
    store: the store that the CSV file names, or empty
    """

    name: str
    path: Path
    label: str
    split: Split | None = None
    store: str = ""


@dataclass(frozen=True)
class Scan:
    """The result of a scan, before any file is read.

    photos:     sorted by name, whatever order the file system has
    labels:     all classes, those without photos too
    left_out:   (name, reason)
    unlabelled: photos in a folder `unlabelled` beside those of the classes; their label is empty
    notes:      sentences for a person about how a CSV file was read
    """

    photos: tuple[Photo, ...]
    labels: frozenset[str]
    left_out: tuple[tuple[str, str], ...]
    unlabelled: tuple[Photo, ...] = ()
    notes: tuple[str, ...] = ()

    def of_store(self, store: str) -> "Scan":
        """Return the photos of one store, from a CSV file with a column of stores."""
        photos = tuple(photo for photo in self.photos if photo.store == store)
        return Scan(photos, frozenset(photo.label for photo in photos), ())


@dataclass
class _Findings:
    """A `Scan` that grows."""

    photos: list[Photo] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    left_out: LeftOut = field(default_factory=list)
    unlabelled: list[Photo] = field(default_factory=list)

    def scan(self) -> Scan:
        return Scan(
            tuple(sorted(self.photos, key=_sort_key)),
            frozenset(self.labels),
            tuple(sorted(self.left_out)),
            tuple(sorted(self.unlabelled, key=_sort_key)),
        )


def _sort_key(photo: Photo) -> tuple[str, str, bytes]:
    return photo.name, photo.label, os.fsencode(photo.path)


def is_table(root: Path) -> bool:
    """Return whether this is a CSV file, or one separated by tabs (.tsv)."""
    return root.is_file() and root.suffix.lower() in (".csv", ".tsv")


def expected_layout(root: Path) -> str:
    """Describe the layout expected of a folder of photos, or of a CSV file."""
    return TABLE_LAYOUT if is_table(root) else LAYOUT.format(root.name)


def scan(root: Path, classes: Collection[str] = ()) -> Scan:
    """List the photos of a folder or of a CSV file. Links are followed, each folder once per class.

    Args:
        root: the folder, or the CSV file
        classes: names that are known to be classes, so that a class may be called "train", which
            else means a split

    Raises:
        DataError: `root` is missing, cannot be read, is neither a folder nor a CSV file, is a
            malformed CSV file, or can be read in two ways; see `common.images.folder.layout`
    """
    try:
        if root.is_dir():
            os.scandir(root).close()
            return _scan_folder(root, classes)
        if is_table(root):
            return _scan_csv(root)
        got = "is neither a folder nor a CSV file" if root.exists() else "does not exist"
    except OSError as error:
        raise DataError(
            f"{root} cannot be read ({error.strerror}); let the user who runs this command read it."
        ) from error
    raise DataError(f"{root} {got}; expected a folder with {LAYOUT.format(root.name)}.")


def is_unlabelled(name: str) -> bool:
    """Return whether a folder of this name, beside those of classes, has photos without a class."""
    return name.casefold() in _UNLABELLED_NAMES


def assign_splits(
    photos: Sequence[Photo], digests: Sequence[bytes], rule: SplitRule = "class"
) -> list[Split]:
    """Return the split of each photo: that of its own sub-folder, or else by its content.

    Args:
        photos: all usable photos of a folder
        digests: hashes of the photos' contents, in the same order
        rule: see `common.images.listing.split`
    """
    named_splits = {photo.split for photo in photos} - {None}
    # a folder that names any split has test photos only if it says so
    held_out: set[HeldOut] = {"validation"} if named_splits else {"validation", "test"}
    held_out -= named_splits
    rows = [row for row, photo in enumerate(photos) if photo.split in (None, "train")]
    by_content = splits_by_content(
        [photos[row].label for row in rows], [digests[row] for row in rows], held_out, rule
    )
    split_of = {row: photo.split for row, photo in enumerate(photos) if photo.split}
    split_of |= zip(rows, by_content, strict=True)
    return [split_of[row] for row in range(len(photos))]


def _scan_folder(root: Path, classes: Collection[str]) -> Scan:
    """Return the photos of classes, directly in `root` or in its splits, and those without one."""
    findings = _Findings()
    top = list_entries(root, root.name, findings.left_out)
    splits = split_folders(
        root, [entry for entry in top if entry.is_folder and not is_unlabelled(entry.name)], classes
    )
    if not splits:
        _scan_classes(top, "", None, (root,), findings)
        return findings.scan()
    for entry in top:
        if entry.is_folder and is_unlabelled(entry.name):
            _scan_classes([entry], "", None, (root,), findings)
        elif entry.is_folder and entry.name in splits:
            below = list_entries(entry.path, entry.name, findings.left_out)
            _scan_classes(below, f"{entry.name}/", splits[entry.name], (root, entry.path), findings)
        elif entry.is_folder:
            strays = walk_files(entry.path, entry.name, {folder_identity(root)}, findings.left_out)
            findings.left_out += [(name, OUTSIDE_SPLITS) for name, _ in strays]
        else:
            findings.left_out.append((entry.name, OUTSIDE_SPLITS))
    return findings.scan()


def _scan_classes(
    listed_entries: list[ListedEntry],
    prefix: str,
    split: Split | None,
    above: tuple[Path, ...],
    findings: _Findings,
) -> None:
    """Add each folder among the entries as a class; all files below, at any depth, are its photos.

    prefix: of the photos' names
    above: the folders that are open, which a link may lead back to
    """
    for label, path, is_folder in listed_entries:
        if not is_folder:
            findings.left_out.append((prefix + label, OUTSIDE_CLASSES))
            continue
        below = walk_files(
            path, prefix + label, {folder_identity(parent) for parent in above}, findings.left_out
        )
        if is_unlabelled(label):
            findings.unlabelled += [Photo(name, file, "", split) for name, file in below]
        else:
            findings.labels.add(label)
            findings.photos += [Photo(name, file, label, split) for name, file in below]


def _scan_csv(path: Path) -> Scan:
    """Return the photos that a CSV file names; see `common.images.listing.tables`."""
    table = read_table(path)
    findings = _Findings()
    for image, label, split, store in table.rows:
        findings.labels.add(valid_text(label))
        name = valid_text(Path(image).as_posix())
        findings.photos.append(
            Photo(name, path.parent / image, valid_text(label), split, valid_text(store))
        )
    findings.left_out += [(valid_text(name), reason) for name, reason in table.left_out]
    return replace(findings.scan(), notes=table.notes)
