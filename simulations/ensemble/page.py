"""`report.html` of an ensemble, made from its `ensemble.json`."""

import json
from pathlib import Path
from typing import Any

from fedshelf.common.system.files import write_text
from fedshelf.common.text import printable
from fedshelf.simulations.compare.page import environment, matrix
from fedshelf.simulations.ensemble.words import headline


def write(directory: Path) -> Path:
    """Write the page and return its path; it may be written again at any time.

    Raises:
        OSError: the results cannot be read, or the page cannot be written.
    """
    results = json.loads((directory / "ensemble.json").read_text(encoding="utf-8"))
    path = directory / "report.html"
    write_text(path, render(directory.resolve().name, results))
    return path


def render(name: str, results: dict[str, Any]) -> str:
    """Render the page; names are escaped everywhere.

    Args:
        name: the name of the ensemble's directory
        results: the content of `ensemble.json`

    Returns:
        The page as HTML.
    """
    names = dict(zip(results["classes"], results["class_names"], strict=True))
    return (
        environment(Path(__file__).parent)
        .get_template("ensemble.html.j2")
        .render(
            name=printable(name),
            results=results,
            headline=headline(results),
            matrices={
                kind: matrix(results["classes"], ensemble["confusion"], names)
                for kind, ensemble in results["ensembles"].items()
            },
        )
    )
