"""Checks for photos that exist twice: harmless in one class, a wrong label in two."""

from collections import defaultdict
from collections.abc import Iterator

from fedshelf.client.health.evidence.finding import Exhibit, Finding
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.near_duplicates import find_near_duplicates
from fedshelf.client.health.evidence.photos import StorePhoto
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count


def exact(evidence: Evidence) -> Iterator[Finding]:
    """Find files with the same content."""
    groups: dict[bytes, list[StorePhoto]] = defaultdict(list)
    for seen in evidence.photos.usable:
        if seen.digest is not None:
            groups[seen.digest].append(seen)
    pairs = [(group[0], other) for group in groups.values() for other in group[1:]]
    yield from _across_classes(pairs, "the same file")
    yield from _across_splits(groups)
    if inside := [pair for pair in pairs if pair[0].photo.label == pair[1].photo.label]:
        yield Finding(
            "photos",
            "note",
            f"{format_count(len(inside), 'photo is a copy', 'photos are copies')} of another in the"
            " same class.",
            "Nothing has to be done; each copy makes its photo count once more. Delete the copies"
            " to be exact.",
            tuple(
                Exhibit(copy.photo.name, f"copy of {first.photo.name}", copy.photo.path)
                for first, copy in inside
            ),
        )


def near(evidence: Evidence) -> Iterator[Finding]:
    """Find photos that show the same though the files differ: another size, another compression."""
    pairs = list(find_near_duplicates(evidence.photos.usable))
    yield from _across_classes(pairs, "the same photo")
    if inside := [pair for pair in pairs if pair[0].photo.label == pair[1].photo.label]:
        yield Finding(
            "photos",
            "note",
            f"{format_count(len(inside), 'pair')} of photos in one class look the same.",
            "Nothing has to be done. If one is a smaller copy of the other, delete it.",
            _exhibits(inside),
        )


def _across_classes(pairs: list[tuple[StorePhoto, StorePhoto]], same: str) -> Iterator[Finding]:
    across = [pair for pair in pairs if pair[0].photo.label != pair[1].photo.label]
    if across:
        yield Finding(
            "photos",
            "warning",
            f"{format_count(len(across), 'pair')} of photos in two classes"
            f" {'is' if len(across) == 1 else 'are'} {same}.",
            "One of the two labels is wrong. Decide which, and delete the other photo.",
            tuple(
                Exhibit(
                    seen.photo.name,
                    f"{printable(seen.photo.label)}, or {printable(other.photo.label)}?",
                    seen.photo.path,
                )
                for pair in across
                for seen, other in (pair, pair[::-1])
            ),
        )


def _across_splits(groups: dict[bytes, list[StorePhoto]]) -> Iterator[Finding]:
    """Find copies across splits, if the folder's own sub-folders split it; otherwise copies are
    always on one side.
    """
    leaks = [
        (group[0], other)
        for group in groups.values()
        for other in group[1:]
        if group[0].photo.split != other.photo.split
    ]
    if leaks:
        yield Finding(
            "photos",
            "warning",
            f"{format_count(len(leaks), 'photo')} to train on {'is' if len(leaks) == 1 else 'are'}"
            " also held out for validation or test.",
            "Delete them in one of the two; until then, the model's accuracy at this store"
            " looks better than it is.",
            _exhibits(leaks),
        )


def _exhibits(pairs: list[tuple[StorePhoto, StorePhoto]]) -> tuple[Exhibit, ...]:
    return tuple(
        Exhibit(seen.photo.name, f"same as {other.photo.name}", seen.photo.path)
        for pair in pairs
        for seen, other in (pair, pair[::-1])
    )
