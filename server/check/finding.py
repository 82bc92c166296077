"""One thing that was looked at, and how it is."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckFinding:
    """A line of the check.

    verdict: warn: the server can start, but a person should know; fail: it cannot, or no store could join
    about:   what was looked at, in a word or two
    told:    what was found, and what to do where it is not ok
    """

    verdict: Verdict
    about: str
    told: str
