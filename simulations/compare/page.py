"""The page `report.html` of a comparison, made only from the files in its directory."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import fedshelf.server.report
from fedshelf.common.classes.display_names import ProductNames, read_from_run
from fedshelf.common.classes.spelling import reading_order
from fedshelf.common.system.files import write_text
from fedshelf.common.text import printable
from fedshelf.server import formatting
from fedshelf.server.figure_names import listed_figures
from fedshelf.server.report.charts.confusion_chart import HeatMap, heat_map
from fedshelf.server.report.charts.line_chart import LineChart, line_chart
from fedshelf.server.report.naming import ordered_names, reorder_matrix
from fedshelf.simulations.compare.wording.findings import (
    TITLES,
    headline,
    of_contributions,
    of_store,
)
from fedshelf.simulations.compare.wording.method_notes import budget, margins


def write(directory: Path) -> Path:
    """Write the page and return its path; it may be written again at any time.

    Raises:
        OSError: a file of the comparison cannot be read, or the page cannot be written.
    """
    results = json.loads((directory / "compare.json").read_text(encoding="utf-8"))
    settings = tomllib.loads((directory / "config.toml").read_text(encoding="utf-8"))
    path = directory / "report.html"
    write_text(path, render(directory.resolve().name, results, settings, read_from_run(directory)))
    return path


def render(
    name: str, results: dict[str, Any], settings: dict[str, dict[str, Any]], names: ProductNames
) -> str:
    """Render the page; names of stores and classes are escaped everywhere.

    Args:
        name: the name of the comparison's directory
        results: the content of `compare.json`
        settings: the content of `config.toml`
        names: product names of the classes

    Returns:
        The page as HTML.
    """
    return (
        environment(Path(__file__).parent)
        .get_template("compare.html.j2")
        .render(
            name=printable(name),
            results=results,
            settings=settings,
            headline=headline(results),
            agreement=of_contributions(results["contributions"])
            if "contributions" in results
            else "",
            sentences=[
                of_store(label, store, is_dealt_anew=results["seeds"]["is_dealt_anew"])
                for label, store in results["stores"].items()
            ],
            titles=TITLES,
            margins=margins(results),
            budget=budget(results),
            curves=_curves(results["curves"]["models"]),
            further=list(listed_figures(next(iter(results["average"].values()))["all_images"])),
            matrices={
                kind: matrix(results["classes"], arm["all_images"]["confusion"], names)
                for kind, arm in results["average"].items()
            },
        )
    )


def matrix(
    classes: Sequence[str], confusion: Sequence[Sequence[int]], names: ProductNames
) -> HeatMap:
    """Lay out a confusion matrix with its classes as people name and order them.

    Args:
        classes: C names
        confusion: counts [C][C], a row per true class
        names: product names of the classes
    """
    order = reading_order(classes)
    return heat_map(ordered_names(classes, order, names), reorder_matrix(confusion, order))


def _curves(curves: Mapping[str, Any]) -> LineChart | None:
    """Draw the accuracies over the rounds of the federation; None if none were measured."""
    series = {
        kind: list(zip(curve["rounds"], curve["accuracy"], strict=True))
        for kind, curve in curves.items()
    }
    return line_chart("Accuracy", series, formatting.percent)


@cache
def environment(folder: Path) -> Environment:
    """Return the templates of `folder`, then of comparisons, then of runs' reports.

    All values are escaped.
    """
    folders = [folder, Path(__file__).parent, Path(fedshelf.server.report.__file__).parent]
    templates = Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "percent": formatting.percent, "decimal": formatting.decimal, "whole": formatting.whole,
        "size":
        formatting.size, "printable": printable, "duration": formatting.duration,
    }  # fmt: skip
    return templates
