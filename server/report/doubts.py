"""The page's section on stores that something speaks against."""

from dataclasses import dataclass

from server.report import words
from server.report.contents import Contents


@dataclass(frozen=True)
class Doubt:
    """A store under suspicion, or set aside. is_aside: it was asked nothing more."""

    store: str
    why: str
    is_aside: bool


def doubts(run: Contents) -> list[Doubt]:
    """What the last round's standing says, those that were set aside first."""
    standing = run.history[-1].get("standing", {}) if run.history else {}
    aside, suspects = standing.get("set_aside", {}), standing.get("suspects", {})
    found = [Doubt(words.printable(name), words.printable(why), True) for name, why in sorted(aside.items())]
    return found + [
        Doubt(words.printable(name), words.printable(why), False)
        for name, why in sorted(suspects.items())
        if name not in aside
    ]
