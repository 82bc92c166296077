"""`report.html` of an ensemble, made from its `ensemble.json`."""

import json
from pathlib import Path
from typing import Any

from common.files import write_text
from server.report import words
from server.report.heatmap import heat_map
from simulations.compare.page import environment
from simulations.ensemble.words import headline


def write(directory: Path) -> Path:
    """Write the page and return its path; it may be written again at any time. Raises OSError."""
    found = json.loads((directory / "ensemble.json").read_text(encoding="utf-8"))
    path = directory / "report.html"
    write_text(path, render(directory.resolve().name, found))
    return path


def render(name: str, found: dict[str, Any]) -> str:
    """The page as text; names are escaped, everywhere."""
    return (
        environment(Path(__file__).parent)
        .get_template("ensemble.html.j2")
        .render(
            name=words.printable(name),
            found=found,
            headline=headline(found),
            matrices={kind: heat_map(found["classes"], each["confusion"]) for kind, each in found["ensembles"].items()},
        )
    )
