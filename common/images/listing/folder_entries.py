"""Listing of folders: entries in the same order on every disk, and all files below.

Links are followed, so that photos may lie on another disk.
"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PHOTO_SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
}
# left by Windows, macOS and a brand of network disks
_LITTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}

LeftOut = list[tuple[str, str]]
"""Names relative to the folder, and the reason why each is not used."""


class ListedEntry(NamedTuple):
    """A file or folder; `name` is NFC, `path` as the disk spells it."""

    name: str
    path: Path
    is_folder: bool


def list_entries(folder: Path, name: str, left_out: LeftOut) -> list[ListedEntry]:
    """Return the entries of a folder, sorted by name, but hidden files and those of systems.

    Args:
        folder: the folder
        name: its name for people
        left_out: gets the name if the folder cannot be read
    """
    try:
        with os.scandir(folder) as scanned:
            entries = [
                ListedEntry(valid_text(entry.name), Path(entry.path), _is_folder(entry))
                for entry in scanned
            ]
    except OSError as error:
        left_out.append((name, f"unreadable folder: {error.strerror}"))
        return []
    return sorted(entry for entry in entries if not is_ignored(entry.name))


def is_ignored(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or left by an operating system."""
    return name[0] == "." or name.casefold() in _LITTER


def walk_files(
    folder: Path, name: str, seen: set[tuple[int, int]], left_out: LeftOut
) -> Iterator[tuple[str, Path]]:
    """Yield all files below `folder`, each with its name, which begins with `name`.

    Args:
        folder: the folder
        name: its name for people
        seen: `folder_identity` of folders not to enter; gets all that are entered, so that loops
            of links end
        left_out: gets folders that cannot be read
    """
    waiting = [(name, folder)]
    while waiting:
        name, folder = waiting.pop()
        identity = folder_identity(folder)
        if identity in seen:
            continue
        seen.add(identity)
        for entry, path, is_folder in reversed(list_entries(folder, name, left_out)):
            if is_folder:
                waiting.append((f"{name}/{entry}", path))
            else:
                yield f"{name}/{entry}", path


def is_photo(name: str) -> bool:
    """Return whether a file of this name is a photo, by its suffix."""
    return Path(name).suffix.lower() in PHOTO_SUFFIXES


def has_photos(folder: Path) -> bool:
    """Return whether a photo lies in the folder, at any depth."""
    return any(is_photo(name) for name, _ in walk_files(folder, folder.name, set(), []))


def folder_identity(folder: Path) -> tuple[int, int]:
    """Return (device, inode), the same for a folder whichever link leads to it.

    Raises:
        OSError: there is no such folder, or it cannot be reached
    """
    status = folder.stat()
    return status.st_dev, status.st_ino


def valid_text(name: str) -> str:
    """Return a file name as valid text: NFC, with U+FFFD for bytes that are not UTF-8."""
    return unicodedata.normalize("NFC", os.fsencode(name).decode("utf-8", "replace"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, after following links.

    A link that leads nowhere is a file; reading it will give the reason why it cannot be used.
    """
    try:
        return entry.is_dir()
    except OSError:
        return False
