"""A sentence on the files of a folder that are not used, for a person who looks for a photo.

Photos are counted by folder and reason, others by name.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from fedshelf.common.images.decoding.formats import NEEDS_AVIF, NEEDS_PI_HEIF
from fedshelf.common.images.folder.scan import OUTSIDE_CLASSES, OUTSIDE_SPLITS
from fedshelf.common.images.listing.folder_entries import is_photo

_MAX_NAMES = 10  # a sentence names so many files and folders; it only counts the rest


def format_left_out(left_out: Sequence[tuple[str, str]]) -> str:
    """Return a sentence on files that are left out: their number, then the details; "" for none.

    Photos in a place where no photo belongs are counted by folder, "8 photos in predict (not in
    train, validation or test)". Photos that need another reader are counted together. At most ten
    of the others are named; the rest is counted by reason.

    Args:
        left_out: (name relative to the folder, reason) of each file
    """
    if not left_out:
        return ""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    singles = []
    for name, reason in left_out:
        location = _location(name, reason)
        if location is None:
            singles.append((name, reason))
        else:
            groups.setdefault((location, reason), []).append((name, reason))
    singles += [only for group in groups.values() if len(group) == 1 for only in group]
    parts = [
        f"{len(group)} photos{location} ({reason})"
        for (location, reason), group in groups.items()
        if len(group) > 1
    ]
    singles.sort()
    parts += [f"{name} ({reason})" for name, reason in singles[:_MAX_NAMES]]
    more = Counter(reason for _, reason in singles[_MAX_NAMES:])
    reasons = ", ".join(f"{count} {reason}" for reason, count in more.most_common())
    unnamed = f" and {more.total()} more: {reasons}" if more else ""
    return f"{len(left_out)}: {', '.join(parts)}{unnamed}"


def _location(name: str, reason: str) -> str | None:
    """Return words for the folder of a photo that is counted with others; None: named alone."""
    if reason in (NEEDS_PI_HEIF, NEEDS_AVIF):
        return ""
    if reason not in (OUTSIDE_CLASSES, OUTSIDE_SPLITS) or not is_photo(name):
        return None
    folders = PurePosixPath(name).parts[:-1]
    return f" in {folders[0]}" if folders else " beside the folders"
