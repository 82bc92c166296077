"""What could not be used of a folder, in words: photos counted by folder and reason, other files by name."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from common.images.listing import is_photo
from common.images.scan import OUTSIDE_CLASSES, OUTSIDE_SPLITS

_NAMED = 10  # files and folders that are named before the rest is only counted


def listed(left_out: Sequence[tuple[str, str]]) -> str:
    """How many, and which: (name, reason) each.

    Photos that lie where no photo belongs are told by their folder, "8 photos in predict (not in train, validation or
    test)"; of the rest at most ten by name, and how many for which reason.
    """
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    single = []
    for name, reason in left_out:
        if reason in (OUTSIDE_CLASSES, OUTSIDE_SPLITS) and is_photo(name):
            folders = PurePosixPath(name).parts[:-1]
            groups.setdefault((folders[0] if folders else "", reason), []).append((name, reason))
        else:
            single.append((name, reason))
    single += [only for group in groups.values() if len(group) == 1 for only in group]
    parts = [
        f"{len(group)} photos {f'in {folder}' if folder else 'beside the folders'} ({reason})"
        for (folder, reason), group in groups.items()
        if len(group) > 1
    ]
    single.sort()
    parts += [f"{name} ({reason})" for name, reason in single[:_NAMED]]
    more = Counter(reason for _, reason in single[_NAMED:])
    rest = f" and {more.total()} more: " + ", ".join(f"{count} {reason}" for reason, count in more.most_common())
    return f"{len(left_out)}: {', '.join(parts)}{rest if more else ''}"
