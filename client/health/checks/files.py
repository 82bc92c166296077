"""Which files can be used, and whether they suffice."""

from collections import Counter
from collections.abc import Iterator

from client.health.evidence import Evidence
from client.health.finding import Exhibit, Finding, counted

_FEW_HELD_OUT = 20  # photos: one of them is then worth 5 points of accuracy


def readable(evidence: Evidence) -> Iterator[Finding]:
    """A folder that cannot be read, files that cannot be used."""
    photos = evidence.photos
    if photos.trouble:
        yield Finding("photos", "problem", photos.trouble, "Give --data the folder that holds the classes' folders.")
        return
    if not photos.usable:
        yield Finding(
            "photos",
            "problem",
            "There is no photo that can be used.",
            "Put photos into one sub-folder per product class: shirt/1.jpg, shoes/1.jpg.",
            _named(photos.left_out + photos.strays),
        )
        return
    if photos.left_out:
        reasons = Counter(reason for _, reason in photos.left_out)
        beside = any(reason.startswith("not in ") for reason in reasons)
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(6))
        yield Finding(
            "photos",
            "warning",
            f"{counted(len(photos.left_out), 'file')} cannot be used: {told}.",
            "They are left out of training. Copy them again from the camera, or delete them."
            + (" What lies beside the class folders belongs into one." if beside else ""),
            _named(photos.left_out),
        )
    if photos.strays:
        yield Finding(
            "photos",
            "note",
            f"{counted(len(photos.strays), 'file is no photo', 'files are no photos')}.",
            "Nothing has to be done; what is not a photo is left alone.",
            _named(photos.strays),
        )


def splits(evidence: Evidence) -> Iterator[Finding]:
    """A part of the photos that is empty, or too small to tell anything."""
    per_class = evidence.photos.splits()
    if not per_class:
        return
    total = sum(per_class.values(), Counter[str]())
    if not total["train"]:
        yield Finding(
            "photos",
            "problem",
            "No photo is left to train on: all are held out for validation and test.",
            "Add photos; a tenth of them is held out for each.",
        )
        return
    few = [f"{total[part]:,} for {part}" for part in ("validation", "test") if total[part] < _FEW_HELD_OUT]
    if few:
        yield Finding(
            "photos",
            "warning",
            f"Of {counted(total.total(), 'photo')}, only {' and '.join(few)} are held out.",
            "The store can train, but what it says about the model's accuracy is down to a few photos. "
            "With 200 photos or more it would be reliable.",
        )


def _named(left_out: tuple[tuple[str, str], ...]) -> tuple[Exhibit, ...]:
    return tuple(Exhibit(name, reason) for name, reason in left_out)
