"""`report.html` of an ensemble, made from its `ensemble.json`."""

import json
from pathlib import Path
from typing import Any

from fedshelf.common.system.files import write_text
from fedshelf.common.wording import printable
from fedshelf.simulations.compare.page import environment, matrix
from fedshelf.simulations.ensemble.words import headline


def write(directory: Path) -> Path:
    """Write the page and return its path; it may be written again at any time. Raises OSError."""
    found = json.loads((directory / "ensemble.json").read_text(encoding="utf-8"))
    path = directory / "report.html"
    write_text(path, render(directory.resolve().name, found))
    return path


def render(name: str, found: dict[str, Any]) -> str:
    """Render the page as text; names are escaped everywhere."""
    names = dict(zip(found["classes"], found["class_names"], strict=True))
    return (
        environment(Path(__file__).parent)
        .get_template("ensemble.html.j2")
        .render(
            name=printable(name),
            found=found,
            headline=headline(found),
            matrices={
                kind: matrix(found["classes"], each["confusion"], names)
                for kind, each in found["ensembles"].items()
            },
        )
    )
