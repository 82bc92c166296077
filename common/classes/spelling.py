"""Class names as people type them: "Hat", "hat " and "ＨＡＴ" are one product."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from fedshelf.common.errors import DataError

Owners = Mapping[str, Mapping[str, int]]
"""Store -> class as it is spelt there -> images. A data set that is no store has the name ""."""


def normalize_name(name: str) -> str:
    """Return the form in which all spellings of one name are equal.

    It ignores case, Unicode form and differences of white space.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def reading_order(names: Sequence[str]) -> list[int]:
    """Return the places of the names in the order in which people look for them: numbers sort by
    size.

    This includes numbers within names. Names in an order that somebody chose stay as they are,
    unless all are numbers. A model keeps its own order, in which text sorts: "10" before "2", and
    "box 10" before "box 9".
    """
    places = list(range(len(names)))
    is_chosen = list(names) != sorted(names) and not all(map(str.isdecimal, names))
    return places if is_chosen else sorted(places, key=lambda place: _by_number(names[place]))


def choose_spellings(owners: Owners, known: Sequence[str] = (), *, merge: bool) -> dict[str, str]:
    """Return the one spelling of each class, by its normal form.

    known: spellings that count before all others

    Of several spellings, the one with the most images is taken; if several have as many, the first
    in order.

    Raises DataError, which names stores and spellings, if there are several and `merge` is False.
    """
    images: dict[str, dict[str, int]] = {}
    for counts in owners.values():
        for name, count in counts.items():
            found = images.setdefault(normalize_name(name), {})
            found[name] = found.get(name, 0) + count
    for name in known:
        images.setdefault(normalize_name(name), {})[name] = max(
            1, sum(images.get(normalize_name(name), {}).values()) + 1
        )
    several = {form: found for form, found in images.items() if len(found) > 1}
    if several and not merge:
        raise DataError(_several(several, owners, known))
    return {
        form: min(found, key=lambda name: (-found[name], name)) for form, found in images.items()
    }


def class_indices(names: Sequence[str], wanted: Sequence[str], *, merge: bool) -> dict[str, int]:
    """Return the index in `wanted` of each of the names; names that are not there are left out.

    merge: if True, a name that is spelt differently there stands for the same class
    """
    exact = {unicodedata.normalize("NFC", name): place for place, name in enumerate(wanted)}
    alike = (
        {normalize_name(name): place for place, name in reversed(list(enumerate(wanted)))}
        if merge
        else {}
    )
    found = {
        name: exact.get(unicodedata.normalize("NFC", name), alike.get(normalize_name(name)))
        for name in names
    }
    return {name: place for name, place in found.items() if place is not None}


def _by_number(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", normalize_name(name))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _several(several: Mapping[str, Mapping[str, int]], owners: Owners, known: Sequence[str]) -> str:
    found = several[min(several)]
    told = []
    for name in sorted(found):
        at = [store for store, counts in owners.items() if name in counts and store]
        at += ["the model to go on from"] if name in known else []
        more = [f"{len(at) - 3} more"] if len(at) > 3 else []
        told.append(f"{name!r} ({', '.join(at[:3] + more)})" if at else repr(name))
    more_classes = "1 more class" if len(several) == 2 else f"{len(several) - 1} more classes"
    others = f", and {more_classes} likewise" if len(several) > 1 else ""
    return (
        f"One class is spelt in several ways: {' and '.join(told)}{others}; expected one spelling:"
        " write it alike, name the classes with --classes (data.classes), or take them for one"
        " with --merge-spellings (data.merge_spellings)."
    )
