"""Folder names for classes: valid on every file system, and read as classes by every reader of
folders.
"""

import itertools
import re
from collections.abc import Iterable

from fedshelf.common.classes.spelling import normalize_name
from fedshelf.common.images.folder.scan import is_unlabelled
from fedshelf.common.images.listing.split_names import split_named

MAX_NAME_CHARACTERS = (
    120  # characters: with a file name after it, well within Windows' limit of a path
)
WINDOWS_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)),
}
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """Return class -> folder, all different on case-insensitive disks, too.

    Characters that a file system refuses become dashes; where that makes two names equal, the
    second gets a number.
    """
    names: dict[str, str] = {}
    used_names: set[str] = set()
    for label in sorted(set(labels), key=lambda label: (_folder_name(label) != label, label)):
        first = name = _folder_name(label)
        for suffix in itertools.count(2):
            if normalize_name(name) not in used_names:
                break
            name = f"{first} ({suffix})"
        used_names.add(normalize_name(name))
        names[label] = name
    return names


def _folder_name(label: str) -> str:
    name = (
        re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", label)
        .lstrip(".")
        .strip()[:MAX_NAME_CHARACTERS]
        .rstrip(" .")
        or "-"
    )
    means_something = (
        split_named(name)
        or is_unlabelled(name)
        or name.partition(".")[0].casefold() in WINDOWS_DEVICES
    )
    return f"{name} (class)" if means_something else name
