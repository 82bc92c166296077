"""Figures of a model for scenes at each store: a table, and curves over rounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from fedshelf.common.text import printable
from fedshelf.server import formatting
from fedshelf.server.figure_names import SCENE_FIGURES
from fedshelf.server.report.charts.line_chart import LineChart, Point, line_chart
from fedshelf.server.report.scenes.plots import percent_tick
from fedshelf.server.report.scenes.scene_run import SceneRun

MAX_STORES_SHOWN = 40
MAX_WEAKEST = 10  # stores in the table of a run with very many


@dataclass(frozen=True)
class SceneStore:
    """A store: its name, the main figure (0..1, the length of a bar), and further figures."""

    name: str
    share: float
    cells: list[str]


@dataclass(frozen=True)
class SceneStores:
    """Stores by the main figure, the weakest first.

    Attributes:
        title:   name of the main figure
        columns: names of the further figures
        rows:    those shown
        total:   number of stores
        sentences: the spread in words
        charts:  curves over rounds
    """

    title: str
    columns: list[str]
    rows: list[SceneStore]
    total: int
    sentences: list[str]
    charts: list[LineChart]


def scene_stores(run: SceneRun, key: str) -> SceneStores | None:
    """Return the figures per store, `key` the main one; None if none is known."""
    known = sorted(
        (row[key], name) for name, row in run.per_store.items() if row.get(key) is not None
    )
    if not known:
        return None
    errors = (run.evaluation.get("scenes") or {}).get("stores") or {}
    parts = run.summary.get("contribution") or {}
    rows = [
        SceneStore(
            printable(name),
            share,
            list(
                _cells(key, run.per_store[name], errors.get(name) or {}, parts.get(name)).values()
            ),
        )
        for share, name in known
    ]
    columns = list(_cells(key, {}, {}, None))
    title = SCENE_FIGURES[key][key]
    shown = rows if len(rows) <= MAX_STORES_SHOWN else rows[:MAX_WEAKEST]
    charts = filter(None, (store_chart(run, key), count_chart(run)))
    return SceneStores(title, columns, shown, len(rows), _spread(title, rows), list(charts))


def store_chart(run: SceneRun, key: str) -> LineChart | None:
    """Draw the main figure at the stores over rounds, on their validation images."""
    by_store: dict[str, list[Point]] = {}
    for record in run.history:
        for name, row in ((record.get("validation") or {}).get("stores") or {}).items():
            if row.get(key) is not None:
                by_store.setdefault(name, []).append((record["round"], row[key]))
    rounds = sorted({number for points in by_store.values() for number, _ in points})
    at = {
        number: sorted(value for points in by_store.values() for n, value in points if n == number)
        for number in rounds
    }
    series = {
        "highest": [(number, at[number][-1]) for number in rounds],
        "median": [(number, median(at[number])) for number in rounds],
        "lowest": [(number, at[number][0]) for number in rounds],
    }
    if len(by_store) < 2:
        return None
    title = SCENE_FIGURES[key][key]
    return line_chart(
        f"{title} at the stores", series, formatting.percent, format_tick=percent_tick
    )


def count_chart(run: SceneRun) -> LineChart | None:
    """Draw by how many products a count is off over rounds, at the usual threshold."""
    series = {
        group: [
            (record["round"], value)
            for record in run.history
            if (value := (record.get(group) or {}).get("count_error")) is not None
        ]
        for group in ("test", "validation")
    }
    return line_chart(
        "Count off by, in products a photo",
        series,
        lambda value: formatting.decimal(value, 1),
        format_tick=lambda value: f"{value:.4g}",
        from_zero=True,
    )


def _cells(
    key: str, row: Mapping[str, Any], errors: Mapping[str, Any], part: float | None
) -> dict[str, str]:
    """Return the further figures of a store by the names of their columns.

    Args:
        key: of the main figure
        row: its results
        errors: of its counts at the chosen threshold
        part: its part in the steps of the model
    """
    cells = {}
    if key == "ap":
        bias = errors.get("count_bias")
        cells = {
            "AP50": formatting.percent(row.get("ap_50")),
            "AP75": formatting.percent(row.get("ap_75")),
            "Recall at 1": formatting.percent(row.get("ap_recall_1")),
            "Count off by": formatting.decimal(errors.get("count_error"), 1),
            "Bias": formatting.UNKNOWN if bias is None else f"{bias:+.1f}",
        }
    return cells | {
        "Loss": formatting.decimal(row.get("loss")),
        "Photos": formatting.whole(row.get("images")),
        "Part": formatting.percent(part),
    }


def _spread(title: str, rows: list[SceneStore]) -> list[str]:
    if len(rows) < 2:
        return []
    worst, best = rows[0], rows[-1]
    return [
        f"{title} is {formatting.percent(worst.share)} at {worst.name}, the weakest store,"
        f" {formatting.percent(median(row.share for row in rows))} at the median and"
        f" {formatting.percent(best.share)} at {best.name}."
    ]
