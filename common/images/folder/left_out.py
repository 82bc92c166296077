"""A sentence on the files of a folder that are not used: photos counted by folder and reason,
others by name.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from fedshelf.common.images.decoding.formats import NEEDS_AVIF, NEEDS_PI_HEIF
from fedshelf.common.images.folder.scan import OUTSIDE_CLASSES, OUTSIDE_SPLITS
from fedshelf.common.images.listing.listing import is_photo

_NAMED = 10  # a sentence names so many files and folders; it only counts the rest


def format_left_out(left_out: Sequence[tuple[str, str]]) -> str:
    """Summarize files that are left out, each given as (name, reason).

    Photos in a place where no photo belongs are counted by folder, "8 photos in predict (not in
    train, validation or test)". Photos that need another reader are counted together. At most ten
    of the others are named; the rest is counted by reason.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    single = []
    for name, reason in left_out:
        place = _place(name, reason)
        if place is None:
            single.append((name, reason))
        else:
            groups.setdefault((place, reason), []).append((name, reason))
    single += [only for group in groups.values() if len(group) == 1 for only in group]
    parts = [
        f"{len(group)} photos{place} ({reason})"
        for (place, reason), group in groups.items()
        if len(group) > 1
    ]
    single.sort()
    parts += [f"{name} ({reason})" for name, reason in single[:_NAMED]]
    more = Counter(reason for _, reason in single[_NAMED:])
    rest = f" and {more.total()} more: " + ", ".join(
        f"{count} {reason}" for reason, count in more.most_common()
    )
    return f"{len(left_out)}: {', '.join(parts)}{rest if more else ''}"


def _place(name: str, reason: str) -> str | None:
    """Return the words for the place of a photo that is counted with others; None if it is named
    alone.
    """
    if reason in (NEEDS_PI_HEIF, NEEDS_AVIF):
        return ""
    if reason not in (OUTSIDE_CLASSES, OUTSIDE_SPLITS) or not is_photo(name):
        return None
    folders = PurePosixPath(name).parts[:-1]
    return f" in {folders[0]}" if folders else " beside the folders"
