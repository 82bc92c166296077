"""Findings of the checks, in plain words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["photos", "server", "settings", "machine"]
Severity = Literal["problem", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("problem", "warning", "note")


@dataclass(frozen=True)
class Exhibit:
    """One file that a finding is about.

    Attributes:
        name: Of the photo, relative to the store's folder.
        remark: The problem of this file, in a few words.
        path: File to make a thumbnail of; None if there is nothing to show.
    """

    name: str
    remark: str
    path: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One fact that a person should know.

    Attributes:
        kind: Its subject, which decides the exit code of `check`.
        severity: problem: the store cannot take part; warning: it can, but the result suffers;
            note: good to know.
        what: The fact, with numbers; a sentence.
        advice: The remedy; a sentence or two.
        exhibits: The files that it is about.
    """

    kind: Kind
    severity: Severity
    what: str
    advice: str
    exhibits: tuple[Exhibit, ...] = ()
