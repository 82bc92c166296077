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

    name:   of the photo, relative to the store's folder
    remark: the problem of this file, in a few words
    path:   file to make a thumbnail of; None if there is nothing to show
    """

    name: str
    remark: str
    path: Path | None = None


@dataclass(frozen=True)
class Finding:
    """One fact that a person should know.

    problem: the store cannot take part; warning: it can, but the result suffers; note: good to know
    what:    the fact, with numbers; a sentence
    advice:  the remedy; a sentence or two
    """

    kind: Kind
    severity: Severity
    what: str
    advice: str
    exhibits: tuple[Exhibit, ...] = ()
