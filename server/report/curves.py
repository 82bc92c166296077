"""The curves of a run, and the figures of its last round beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.server import formatting
from fedshelf.server.figure_names import FURTHER_TITLES, USUAL_FIGURES, figure_heading, main_figure
from fedshelf.server.report.charts.line_chart import LineChart, Point, line_chart
from fedshelf.server.report.run_data import RunData


@dataclass(frozen=True)
class FurtherFigure:
    """A figure of a further metric, with its name in words; None: not known."""

    name: str
    title: str
    test: float | None
    validation: float | None


def curve_points(history: Sequence[Mapping[str, Any]], group: str, name: str) -> list[Point]:
    """Return one curve: (round, value) of every record that has the value.

    Args:
        history: records of the rounds
        group:   key of the record, such as "test"
        name:    key within the group, such as "accuracy"
    """
    values = ((record["round"], (record.get(group) or {}).get(name)) for record in history)
    return [(round_number, value) for round_number, value in values if value is not None]


def figure_chart(run: RunData) -> LineChart | None:
    """Draw the main figure on test and validation images over rounds, the best round marked."""
    key = run_figure(run)
    series = {name: curve_points(run.history, name, key) for name in ("test", "validation")}
    best = run.summary.get("best")
    # round 0, the model that the run began with, is not among the curve's points
    mark = (best["round"], f"best: {best['round']}") if best and best["round"] else None
    return line_chart(
        figure_heading(key),
        series,
        formatting.percent,
        format_tick=lambda share: f"{100 * share:.4g}%",
        mark=mark,
    )


def further_figures(run: RunData) -> list[FurtherFigure]:
    """Return what the last evaluation has beside accuracy, macro F1 and loss."""
    last = _last_evaluated(run)
    test = last.get("test") or {}
    validation = last.get("validation") or {}
    return [
        FurtherFigure(
            name,
            FURTHER_TITLES.get(name, name),
            test.get(name),
            validation.get(name),
        )
        for name in dict.fromkeys([*test, *validation])
        if name not in USUAL_FIGURES
    ]


def run_figure(run: RunData) -> str:
    """Return the key of the figure that says how good a round's model is."""
    last = _last_evaluated(run)
    return main_figure(last.get("test") or last.get("validation"))


def loss_chart(run: RunData) -> LineChart | None:
    """Draw loss on training, test and validation images over rounds."""
    series = {
        name: curve_points(run.history, name, "loss") for name in ("train", "test", "validation")
    }
    return line_chart(
        "Loss", series, formatting.decimal, format_tick=lambda value: f"{value:.4g}", from_zero=True
    )


def seconds_chart(run: RunData) -> LineChart | None:
    """Draw the wall time of the rounds."""
    return line_chart(
        "Time of a round",
        {"total": curve_points(run.history, "seconds", "total")},
        formatting.duration,
        from_zero=True,
    )


def _last_evaluated(run: RunData) -> Mapping[str, Any]:
    """Return the record of the last round that was evaluated; empty if none was."""
    return next(
        (
            record
            for record in reversed(run.history)
            if record.get("test") or record.get("validation")
        ),
        {},
    )
