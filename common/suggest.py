"""Suggestions for mistyped names: the nearest of some known names."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like `name`, in any case; None if none is near."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.4)
    return by_folded[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean NAME?" to append to a sentence; empty if no name is near."""
    near = nearest(name, known)
    return f" Did you mean {near}?" if near else ""
