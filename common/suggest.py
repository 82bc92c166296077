"""Suggestions for mistyped names: the nearest of some known names."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name of `known` that looks most like `name`, in any case of letters; None if none
    is near.
    """
    by_folded = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.4)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean NAME?", to be appended to a sentence, or an empty text if no name is
    near.
    """
    found = nearest(name, known)
    return f" Did you mean {found}?" if found else ""
