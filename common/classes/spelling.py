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
    """Return the indices of the names in the order in which people look for them.

    Numbers sort by size, also within names. Names in an order that somebody chose stay as they are,
    unless all are numbers. A model keeps its own order, in which text sorts: "10" before "2", and
    "box 10" before "box 9".
    """
    indices = list(range(len(names)))
    is_chosen = list(names) != sorted(names) and not all(map(str.isdecimal, names))
    return indices if is_chosen else sorted(indices, key=lambda index: _by_number(names[index]))


def choose_spellings(owners: Owners, known: Sequence[str] = (), *, merge: bool) -> dict[str, str]:
    """Return the one spelling of each class, by its normal form.

    Of several spellings, the one with the most images is taken; if several have as many, the first
    in order.

    Args:
        owners: the classes of each store
        known: spellings that count before all others
        merge: True if a class may have several spellings

    Raises:
        DataError: a class has several spellings and `merge` is False; it names stores and spellings
    """
    images: dict[str, dict[str, int]] = {}
    for counts in owners.values():
        for name, count in counts.items():
            variants = images.setdefault(normalize_name(name), {})
            variants[name] = variants.get(name, 0) + count
    for name in known:
        variants = images.setdefault(normalize_name(name), {})
        variants[name] = max(1, sum(variants.values()) + 1)
    several = {form: variants for form, variants in images.items() if len(variants) > 1}
    if several and not merge:
        raise DataError(_several_spellings(several, owners, known))
    return {
        form: min(variants, key=lambda name: (-variants[name], name))
        for form, variants in images.items()
    }


def class_indices(names: Sequence[str], wanted: Sequence[str], *, merge: bool) -> dict[str, int]:
    """Return the index in `wanted` of each of the names; names that are not there are left out.

    Args:
        names: classes as somebody spells them
        wanted: the ordered classes of a run
        merge: True if a name that is spelt differently there stands for the same class
    """
    exact = {unicodedata.normalize("NFC", name): index for index, name in enumerate(wanted)}
    alike: dict[str, int] = {}
    if merge:
        # reversed: of two alike, the first one counts
        alike = {normalize_name(name): index for index, name in reversed(list(enumerate(wanted)))}
    indices = {
        name: exact.get(unicodedata.normalize("NFC", name), alike.get(normalize_name(name)))
        for name in names
    }
    return {name: index for name, index in indices.items() if index is not None}


def _by_number(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", normalize_name(name))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _several_spellings(
    several: Mapping[str, Mapping[str, int]], owners: Owners, known: Sequence[str]
) -> str:
    """Return the sentence about the first class of several spellings, and the number of others."""
    described = []
    for name in sorted(several[min(several)]):
        stores = [store for store, counts in owners.items() if name in counts and store]
        stores += ["the model to go on from"] if name in known else []
        more = [f"{len(stores) - 3} more"] if len(stores) > 3 else []
        described.append(f"{name!r} ({', '.join(stores[:3] + more)})" if stores else repr(name))
    more_classes = "1 more class" if len(several) == 2 else f"{len(several) - 1} more classes"
    others = f", and {more_classes} likewise" if len(several) > 1 else ""
    return (
        f"One class is spelt in several ways: {' and '.join(described)}{others}; expected one"
        " spelling: write it alike, name the classes with --classes (data.classes), or take them"
        " for one with --merge-spellings (data.merge_spellings)."
    )
