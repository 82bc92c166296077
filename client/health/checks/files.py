"""Checks of the files: which can be used, and whether they suffice."""

from collections import Counter
from collections.abc import Iterator

from fedshelf.client.health.evidence.finding import Exhibit, Finding, Severity
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.common.images.decoding.content_digests import NO_SUCH_FILE
from fedshelf.common.images.decoding.formats import NEEDS_AVIF, NEEDS_PI_HEIF
from fedshelf.common.images.folder.photo_folder import EMPTY_CLASS
from fedshelf.common.images.folder.scan import OUTSIDE_CLASSES, OUTSIDE_SPLITS
from fedshelf.common.wording import format_count, format_list

LeftOut = tuple[tuple[str, str], ...]

_ADVICE = {
    NEEDS_PI_HEIF: "Install it where Fedshelf is installed: pip install pi-heif.",
    NEEDS_AVIF: "Install a Pillow version that can read it: pip install --upgrade pillow.",
}
_CORRECT_TABLE = (
    "Correct their lines in the CSV file: IMAGE,LABEL, with paths relative to its folder."
)
# Reasons for which a line of a CSV file is left out, not the photo that it names.
_OF_LINES = {
    "no image",
    "no label",
    "no split",
    "listed twice",
    "not a file",
    "not a file name",
    NO_SUCH_FILE,
}
_MAX_NAMED_REASONS = 6  # reasons that are named; further files are only counted
_FEW_HELD_OUT_PHOTOS = 20  # photos: each of so few counts 5 points of accuracy


def readable(evidence: Evidence) -> Iterator[Finding]:
    """Find a folder that cannot be read, and files that cannot be used."""
    photos = evidence.photos
    if photos.trouble:
        advice = (
            "Correct that CSV file."
            if photos.is_table
            else "Correct the folder, or give --data another one."
        )
        yield Finding("photos", "problem", photos.trouble, advice)
        return
    waiting = tuple(entry for entry in photos.left_out if entry[1] in _ADVICE)
    left_out = tuple(entry for entry in photos.left_out if entry not in waiting)
    if not photos.usable:
        if waiting:
            yield _waiting(waiting, "problem")
            return
        yield Finding(
            "photos",
            "problem",
            "There is no photo that can be used.",
            (
                _CORRECT_TABLE
                if photos.is_table
                else "Put photos into one sub-folder per class: shirt/1.jpg, shoes/1.jpg."
            ),
            _named(photos.left_out + photos.strays),
        )
        return
    if waiting:
        yield _waiting(waiting, "warning")
    if left_out:
        yield _unusable(left_out, is_table=photos.is_table)
    if photos.notes:
        yield Finding(
            "photos",
            "note",
            " ".join(f"{note}." for note in photos.notes),
            "Nothing has to be done if that is right.",
        )
    if photos.strays:
        yield Finding(
            "photos",
            "note",
            f"{format_count(len(photos.strays), 'file is no photo', 'files are no photos')}.",
            "Nothing has to be done; Fedshelf leaves other files alone.",
            _named(photos.strays),
        )


def _waiting(left_out: LeftOut, severity: Severity) -> Finding:
    """Report photos in formats that this machine can be taught to read."""
    reasons = Counter(reason for _, reason in left_out)
    reason_counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return Finding(
        "photos",
        severity,
        f"{format_count(len(left_out), 'photo')} cannot be used yet: {reason_counts}.",
        " ".join(_ADVICE[reason] for reason in reasons),
        _named(left_out),
    )


def _unusable(left_out: LeftOut, *, is_table: bool) -> Finding:
    """Report files that are broken or misplaced, lines that say too little, classes without
    photos.
    """
    reasons = Counter(reason for _, reason in left_out)
    reason_counts = [
        f"{count:,} {reason}" for reason, count in reasons.most_common(_MAX_NAMED_REASONS)
    ]
    if others := len(left_out) - sum(count for _, count in reasons.most_common(_MAX_NAMED_REASONS)):
        reason_counts.append(f"{others:,} for other reasons")
    return Finding(
        "photos",
        "warning",
        f"{format_count(len(left_out), 'file')} cannot be used: {', '.join(reason_counts)}.",
        " ".join(
            [
                "They are left out of training.",
                *dict.fromkeys(_advice_for(reason, is_table=is_table) for reason in reasons),
            ]
        ),
        _named(left_out),
    )


def _advice_for(reason: str, *, is_table: bool) -> str:
    """Return the advice for photos that are left out for this reason."""
    if reason in (OUTSIDE_CLASSES, OUTSIDE_SPLITS):
        return "Move photos that lie beside the class folders into one of them."
    if reason == EMPTY_CLASS:
        return "Put photos into the folder of an empty class, or delete it."
    if is_table and reason in _OF_LINES:
        return _CORRECT_TABLE
    return "Copy broken photos again from where they came from, or delete them."


def splits(evidence: Evidence) -> Iterator[Finding]:
    """Find a split of the photos that is empty, or too small to measure anything."""
    per_class = evidence.photos.splits()
    if not per_class:
        return
    total = sum(per_class.values(), Counter[str]())
    if not total["train"]:
        yield Finding(
            "photos",
            "problem",
            "No photo is left to train on: all are held out for validation and test.",
            (
                "Put photos into the folder train as well, or put the class folders right into"
                " the folder of --data."
                if any(seen.photo.split for seen in evidence.photos.usable)
                else "Add photos; a tenth of them is held out for each."
            ),
        )
        return
    few = [
        f"{total[part]:,} for {part}"
        for part in ("validation", "test")
        if total[part] < _FEW_HELD_OUT_PHOTOS
    ]
    if few:
        yield Finding(
            "photos",
            "warning",
            f"Of {format_count(total.total(), 'photo')}, only {format_list(few)} are held out.",
            "The store can train, but its figures for the model's accuracy depend on a few"
            " photos. With 200 photos or more they would be reliable.",
        )


def _named(left_out: LeftOut) -> tuple[Exhibit, ...]:
    return tuple(Exhibit(name, reason) for name, reason in left_out)
