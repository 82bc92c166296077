"""A first look at a store's folder, by names and first bytes: a mistake shows before anything heavy is loaded."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from common.errors import DataError
from common.images.contents import objection
from common.images.parallel import in_order
from common.images.scan import expected, scan


def survey(data: Path, classes: Collection[str] = ()) -> str:
    """What the folder seems to hold, in a sentence or two. Raises DataError if that is nothing."""
    found = scan(data, classes)
    per_class: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for photo, reason in zip(found.photos, in_order(objection, [photo.path for photo in found.photos]), strict=True):
        if reason:
            reasons[reason] += 1
        else:
            per_class[photo.label] += 1
    unlabelled = len(found.unlabelled)
    if not per_class and not unlabelled:
        got = f"; found {_listed(reasons)}" if reasons else ""
        raise DataError(f"No photo in {data}; expected {expected(data)}{got}.")
    counts = ", ".join(f"{label} {count}" for label, count in sorted(per_class.items()))
    without = f" {unlabelled} without a class are for train.objective=turns." if unlabelled else ""
    not_used = f" Not used: {_listed(reasons)}." if reasons else ""
    others = len(found.left_out)
    left_out = f" {others} other file{'s are' if others > 1 else ' is'} left out." if others else ""
    notes = "".join(f" {note}." for note in found.notes)
    return f"{per_class.total()} photos of {len(per_class)} classes ({counts}).{without}{not_used}{left_out}{notes}"


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
