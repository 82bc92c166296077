"""A first look at a store's folder: by names alone, so that a mistake shows before anything heavy is loaded."""

from collections import Counter
from pathlib import Path

from common.errors import DataError
from common.images.scan import LAYOUT, scan


def survey(data: Path) -> str:
    """What the folder seems to hold, in a sentence or two. Raises DataError if that is nothing."""
    found = scan(data)
    per_class = Counter(photo.label for photo in found.photos)
    unlabelled = len(found.unlabelled)
    if not per_class and not unlabelled:
        raise DataError(f"No photo in {data}; expected {LAYOUT.format(data.name)}.")
    counts = ", ".join(f"{label} {count}" for label, count in sorted(per_class.items()))
    others = len(found.left_out)
    without = f" {unlabelled} without a class are for train.objective=turns." if unlabelled else ""
    left_out = f" {others} other file{'s are' if others > 1 else ' is'} left out." if others else ""
    return f"{per_class.total()} photos of {len(per_class)} classes ({counts}).{without}{left_out}"
