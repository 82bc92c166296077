"""What a check found, in plain words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["photos", "server", "settings", "machine"]
Severity = Literal["problem", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")


@dataclass(frozen=True)
class Exhibit:
    """One file that a finding is about.

    name:   of the photo relative to the store's folder
    remark: what is the matter with this one, in a few words
    path:   where it can be read for a thumbnail; None if there is nothing to be seen
    """

    name: str
    remark: str
    path: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that a person should know.

    problem: the store cannot take part; warning: it can, but the result suffers; note: good to know
    what:    what was found, with numbers; a sentence
    advice:  what to do; a sentence or two
    """

    kind: Kind
    severity: Severity
    what: str
    advice: str
    exhibits: tuple[Exhibit, ...] = ()
