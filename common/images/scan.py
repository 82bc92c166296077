"""Which files a store's folder, or a CSV file of photos, offers as photos of which class."""

import csv
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.images.split import Split
from common.images.split_names import split_named

LAYOUT = "one sub-folder per product class, such as {0}/shirt/1.jpg, or a CSV file with a line IMAGE,LABEL per photo"

UNLABELLED = "unlabelled"
_UNLABELLED = {UNLABELLED, "unlabeled"}
_LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}  # left by Windows, macOS and a brand of network disks
PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"}


@dataclass(frozen=True)
class Photo:
    """A file that may be a photo.

    name:  path relative to the folder, with slashes, Unicode form NFC: the same on every disk
    label: class name, NFC
    split: the split its sub-folder names, or None
    """

    name: str
    path: Path
    label: str
    split: Split | None = None


@dataclass(frozen=True)
class Scan:
    """What was found, before any file is read.

    photos:     sorted by name, whatever order the file system has
    labels:     all classes, those without photos too
    left_out:   (name, reason)
    unlabelled: photos in a folder `unlabelled` beside those of the classes; their label is empty
    """

    photos: tuple[Photo, ...]
    labels: frozenset[str]
    left_out: tuple[tuple[str, str], ...]
    unlabelled: tuple[Photo, ...] = ()


class _Entry(NamedTuple):
    """What a folder holds; `name` is NFC, `path` as the disk spells it."""

    name: str
    path: Path
    is_folder: bool


@dataclass
class _Findings:
    photos: list[Photo] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    unlabelled: list[Photo] = field(default_factory=list)

    def scan(self) -> Scan:
        photos, unlabelled = (
            tuple(sorted(found, key=lambda photo: (photo.name, photo.label, os.fsencode(photo.path))))
            for found in (self.photos, self.unlabelled)
        )
        return Scan(photos, frozenset(self.labels), tuple(sorted(self.left_out)), unlabelled)


def scan(root: Path) -> Scan:
    """List the photos of a folder or of a CSV file. Links are followed, each folder once per class.

    Raises DataError if `root` is missing, is neither a folder nor a CSV file, or is a malformed CSV file.
    """
    if root.is_dir():
        return _scan_folder(root)
    if root.is_file() and root.suffix.lower() == ".csv":
        return _scan_csv(root)
    got = "is neither a folder nor a CSV file" if root.exists() else "does not exist"
    raise DataError(f"{root} {got}; expected a folder with {LAYOUT.format(root.name)}.")


def _scan_folder(root: Path) -> Scan:
    """The classes of `root`, or of its train, validation and test sub-folders; and what has no class yet."""
    findings = _Findings()
    top = []
    for entry in _entries(root, root.name, findings):
        if entry.is_folder and entry.name.casefold() in _UNLABELLED:
            files = _files(entry.path, entry.name, {_identity(root)}, findings)
            findings.unlabelled += [Photo(name, file, "") for name, file in files]
        else:
            top.append(entry)
    splits = [entry for entry in top if entry.is_folder and split_named(entry.name)]
    others = any(entry.is_folder for entry in top if entry not in splits)
    if not _hold_classes(splits) and (others or len(splits) < 2):
        _scan_classes(top, "", None, (root,), findings)
        return findings.scan()
    for name, path, is_folder in top:
        if is_folder and (split := split_named(name)):
            classes = _entries(path, name, findings)
            _scan_classes(classes, f"{name}/", split, (root, path), findings)
        else:
            findings.left_out.append((name, "not in train, validation or test"))
    return findings.scan()


def _hold_classes(folders: list[_Entry]) -> bool:
    """Whether folders named like splits hold classes; if not, "train" may well be a class of toys."""
    inside = [entry for folder in folders for entry in _entries(folder.path, folder.name, _Findings())]
    photos = any(entry.path.suffix.lower() in PHOTO_SUFFIXES for entry in inside)
    return not photos and any(entry.is_folder for entry in inside)


def _scan_classes(
    entries: list[_Entry], prefix: str, split: Split | None, above: tuple[Path, ...], findings: _Findings
) -> None:
    """Each folder among the entries is a class; all files below it, at any depth, are its photos."""
    for label, path, is_folder in entries:
        if is_folder:
            findings.labels.add(label)
            seen = {_identity(parent) for parent in above}
            for name, file in _files(path, prefix + label, seen, findings):
                findings.photos.append(Photo(name, file, label, split))
        else:
            findings.left_out.append((prefix + label, "not in a class folder"))


def _files(folder: Path, name: str, seen: set[tuple[int, int]], findings: _Findings) -> Iterator[tuple[str, Path]]:
    """All files below `folder` with their names. No folder is entered twice, so loops of links end."""
    waiting = [(name, folder)]
    while waiting:
        name, folder = waiting.pop()
        identity = _identity(folder)
        if identity in seen:
            continue
        seen.add(identity)
        for entry, path, is_folder in reversed(_entries(folder, name, findings)):
            if is_folder:
                waiting.append((f"{name}/{entry}", path))
            else:
                yield f"{name}/{entry}", path


def _entries(folder: Path, name: str, findings: _Findings) -> list[_Entry]:
    """What a folder holds, sorted by name, without hidden files and litter."""
    try:
        with os.scandir(folder) as found:
            entries = [_Entry(_shown(entry.name), Path(entry.path), _is_folder(entry)) for entry in found]
    except OSError as error:
        findings.left_out.append((name, f"unreadable folder: {error.strerror}"))
        return []
    return sorted(entry for entry in entries if entry.name[0] != "." and entry.name.casefold() not in _LITTER)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Links are followed; one that leads nowhere is a file, and reading it will say why it cannot be used."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _shown(name: str) -> str:
    """A file name as valid text: NFC, and bytes that are not UTF-8 become replacement characters."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def _scan_csv(table: Path) -> Scan:
    """Lines of IMAGE,LABEL; paths are relative to the CSV file; a first line `image,label` is a header."""
    findings = _Findings()
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            lines = [(reader.line_num, row) for row in reader if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read {table} as a CSV file in UTF-8: {error}. Save it as CSV (UTF-8).") from error
    for number, row in lines:
        if len(row) != 2:
            got = f"{len(row)} values" if len(row) > 1 else "one value"
            raise DataError(f"{table}, line {number} has {got}: {','.join(row)!r}; expected two, IMAGE,LABEL.")
        image, label = (cell.strip() for cell in row)
        if number == 1 and (image.casefold(), label.casefold()) == ("image", "label"):
            continue
        if image and label:
            findings.labels.add(_shown(label))
            findings.photos.append(Photo(_shown(Path(image).as_posix()), table.parent / image, _shown(label)))
        else:
            findings.left_out.append((_shown(image) or f"line {number}", "no label" if image else "no image"))
    return findings.scan()
