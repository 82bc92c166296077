"""The finding of one check."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckFinding:
    """A line of the check.

    verdict: warn: the server can start, but a person should know; fail: it cannot, or no store
             could join
    about:   the subject, in a word or two
    told:    the finding, and the remedy if it is not ok
    """

    verdict: Verdict
    about: str
    told: str
