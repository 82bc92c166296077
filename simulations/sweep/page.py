"""`report.html` of a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from fedshelf.common.system.files import write_text
from fedshelf.common.text import printable
from fedshelf.server.report.charts.colours import TEN_COLOURS
from fedshelf.server.report.charts.line_chart import line_chart
from fedshelf.simulations.compare.page import environment
from fedshelf.simulations.sweep.outcome import PointResult
from fedshelf.simulations.sweep.words import figure_name, format_score, headline

MAX_CURVES = 8  # of the best points: more cannot be told apart


def write(directory: Path, outcome: Mapping[str, Any], results: Sequence[PointResult]) -> Path:
    """Write the page and return its path.

    Args:
        directory: of the sweep
        outcome: the content of `results.json`
        results: the points

    Raises:
        OSError: it cannot be written.
    """
    path = directory / "report.html"
    write_text(path, render(directory.resolve().name, outcome, results))
    return path


def render(name: str, outcome: Mapping[str, Any], results: Sequence[PointResult]) -> str:
    """Return the page as HTML; names are escaped everywhere."""
    metric = outcome["metric"]
    letters = dict(zip(outcome["order"], ascii_lowercase[:MAX_CURVES], strict=False))
    curves = {letter: results[position].curve for position, letter in letters.items()}
    further = list(
        dict.fromkeys(
            figure for result in results for run in result.runs.values() for figure in run.further
        )
    )
    chart = line_chart(
        f"Validation {figure_name(metric)}, mean over the seeds",
        curves,
        lambda value: format_score(value, metric),
    )
    rows = [
        {
            "letter": letters.get(position, ""),
            "label": printable(results[position].label) or "all settings as given",
            "mean": format_score(results[position].mean, metric),
            "deviation": format_score(results[position].deviation, metric),
            "further": [
                format_score(results[position].further_mean(figure), figure) for figure in further
            ],
            "runs": len(results[position].runs),
            "rounds": results[position].rounds,
            "is_chosen": position == outcome["chosen"],
        }
        for position in outcome["order"]
    ]
    failed = [
        {"label": printable(result.label), "seed": seed, "error": printable(error)}
        for result in results
        for seed, error in result.failed.items()
    ]
    return (
        environment(Path(__file__).parent)
        .get_template("sweep.html.j2")
        .render(
            name=printable(name),
            metric=figure_name(metric),
            further=[figure_name(figure) for figure in further],
            sentences=[printable(s) for s in headline(outcome, [r.label for r in results])],
            chart=chart,
            rows=rows,
            failed=failed,
            colours=dict(zip(ascii_lowercase[:MAX_CURVES], TEN_COLOURS, strict=False)),
        )
    )
