"""PNG pictures of a run for documents and chats; the page draws its own.

Import it late: matplotlib takes 0.5 s.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.style import context
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fedshelf.common.system.files import write_atomic
from fedshelf.common.text import printable
from fedshelf.server.figure_names import RIGHT_SCENES, SCENE_FIGURES, figure_heading
from fedshelf.server.report import curves
from fedshelf.server.report.charts.calibration_chart import Calibration, calibration_charts
from fedshelf.server.report.charts.colours import CURVE_COLOURS
from fedshelf.server.report.charts.confusion_chart import MAX_NUMBERED_CLASSES
from fedshelf.server.report.charts.line_chart import BOX_UNITS, Point
from fedshelf.server.report.charts.partition_chart import MAX_STORES_DRAWN, choose_evenly
from fedshelf.server.report.charts.shown_classes import shown_classes
from fedshelf.server.report.naming import with_display_names
from fedshelf.server.report.run_data import RunData, read_run
from fedshelf.server.report.stores import MAX_STORES_LISTED

INK = "#17212c"
MUTED = "#5a6775"
RULE = "#e2e7ec"
STYLE: dict[str, Any] = {
    "font.size": 10,
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": RULE,
    "axes.axisbelow": True,
    "figure.constrained_layout.w_pad": 0.12,
    "figure.constrained_layout.h_pad": 0.12,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called "$5_shirt$"
}
MAX_NAMED_ON_AXIS = 24  # up to this many stores are named along an axis
HISTOGRAM_BINS = 30  # of a histogram; a rule that looks at the values may want thousands


def write_pictures(run_directory: Path) -> list[Path]:
    """Draw all pictures for which the run directory has numbers.

    Returns:
        Their paths.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: a file is damaged.
    """
    run = with_display_names(read_run(run_directory))
    test = run.summary.get("test") or {}
    confidence = calibration_charts(run.evaluation.get("calibration"))
    key = curves.run_figure(run)
    jobs: list[tuple[str, bool, Callable[[Path], None]]] = [
        ("curves.png", bool(run.history), lambda path: draw_curves(run, path)),
        (
            "confusion.png",
            bool(test.get("confusion")) and key not in SCENE_FIGURES,
            lambda path: draw_confusion(list(test["per_class"]), test["confusion"], path),
        ),
        (
            "partition.png",
            run.partition is not None,
            lambda path: draw_partition(run.partition or {}, path),
        ),
        ("stores.png", bool(run.per_store), lambda path: draw_stores(run.per_store, path, key)),
        (
            "reliability.png",
            confidence is not None,
            lambda path: draw_reliability(confidence or Calibration([], []), path),
        ),
    ]
    for name, is_wanted, draw in jobs:
        if is_wanted:
            draw(run_directory / name)
    return [run_directory / name for name, is_wanted, _ in jobs if is_wanted]


def draw_curves(run: RunData, path: Path) -> None:
    """Draw accuracy and loss over rounds, each curve named at its end.

    Args:
        run:  the run
        path: the picture
    """
    with _figure(path, (10, 3.8)) as figure:
        left, right = figure.subplots(1, 2)
        key = curves.run_figure(run)
        left.set_title(figure_heading(key))
        left.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        right.set_title("Loss")
        for name in ("test", "validation"):
            _curve(left, name, curves.curve_points(run.history, name, key))
        for name in ("train", "test", "validation"):
            _curve(right, name, curves.curve_points(run.history, name, "loss"))
        for axes in (left, right):
            axes.set_xlabel("round")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            if axes.lines:
                axes.legend(labelcolor="linecolor")


def draw_confusion(classes: Sequence[str], confusion: Sequence[Sequence[int]], path: Path) -> None:
    """Draw a confusion matrix as shares of each row; right ones blue, mistakes orange.

    Args:
        classes:   names of the C classes
        confusion: image counts [C, C], row = true class
        path:      the picture
    """
    counts = np.asarray(confusion, dtype=np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    diagonal = np.eye(len(classes), dtype=bool)
    side = float(np.clip(1.5 + 0.42 * len(classes), 4, 14))
    with _figure(path, (side, side)) as figure:
        axes = figure.subplots()
        # The root lifts the small shares: the mistakes, which a reader looks for.
        for mask, colour in (
            (diagonal, CURVE_COLOURS["test"]),
            (~diagonal, CURVE_COLOURS["validation"]),
        ):
            masked = np.ma.masked_where(~mask, np.sqrt(share))
            axes.imshow(masked, cmap=_fading_colours(colour), vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        names = [printable(name) for name in classes]
        size = 9 if len(names) <= 30 else 5.5
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        for row, column in np.argwhere(share >= 0.01) if len(names) <= MAX_NUMBERED_CLASSES else ():
            value = share[row, column]
            colour = "white" if value > 0.3 else INK
            axes.text(
                column,
                row,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                color=colour,
                fontsize=9,
            )


def draw_partition(table: Mapping[str, Any], path: Path) -> None:
    """Draw stacked columns, one per store, of images per class.

    Of very many stores, evenly chosen ones are drawn; of many classes, those with most images.

    Args:
        table: {"classes": [C names], "stores": {name: [C image counts]}}, as in `partition.json`
        path:  the picture
    """
    layers = shown_classes(table)
    total = len(table["stores"])
    classes = layers.names
    colours = layers.colours
    shown = choose_evenly(layers.stores, MAX_STORES_DRAWN)
    names = [printable(name) for name, _ in shown]
    counts = np.array([row for _, row in shown], dtype=np.int64).reshape(len(names), len(classes))
    tops = counts.cumsum(axis=1)
    with _figure(path, (10, 4.2)) as figure:
        axes = figure.subplots()
        axes.set_title("Training images per store")
        left = np.repeat(np.arange(len(names)) - 0.4, len(classes))
        right = left + 0.8
        low = (tops - counts).ravel()
        high = tops.ravel()
        corners = np.stack(
            [
                np.stack(pair, axis=1)
                for pair in ((left, low), (left, high), (right, high), (right, low))
            ],
            axis=1,
        )
        axes.add_collection(
            PolyCollection(list(corners), facecolors=colours * len(names), linewidths=0)
        )
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(0, 1.05 * max(1, int(tops.max(initial=0))))
        if len(names) <= MAX_NAMED_ON_AXIS:
            axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 10 else 0)
        else:
            drawn = f"{len(names):,} of " if len(names) < total else ""
            axes.set_xlabel(f"{drawn}{total:,} stores")
        if classes:
            handles = [axes.plot([], [], "s", color=colour)[0] for colour in colours]
            axes.legend(handles[::-1], classes[::-1], loc="center left", bbox_to_anchor=(1, 0.5))


def draw_stores(
    per_store: Mapping[str, Mapping[str, Any]], path: Path, key: str = "accuracy"
) -> None:
    """Draw a figure per store: named dots, weakest at the bottom, or a histogram of many stores.

    Args:
        per_store: results by store, each with the figure (0..1)
        path:      the picture
        key:       of the figure
    """
    stored = "accuracy" if key in RIGHT_SCENES.values() else key
    accuracies_by_name = sorted(
        (result[stored], name)
        for name, result in per_store.items()
        if result.get(stored) is not None
    )
    accuracies = [accuracy for accuracy, _ in accuracies_by_name]
    is_named = len(accuracies_by_name) <= MAX_STORES_LISTED
    with _figure(
        path, (8, max(2.2, 1 + 0.25 * len(accuracies_by_name)) if is_named else 4)
    ) as figure:
        axes = figure.subplots()
        axes.set_title(f"{figure_heading(key)} per store")
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        if is_named:
            axes.grid(visible=True, axis="both")
            axes.plot(accuracies, range(len(accuracies_by_name)), "o", color=CURVE_COLOURS["test"])
            axes.set_yticks(
                range(len(accuracies_by_name)), [printable(name) for _, name in accuracies_by_name]
            )
        else:
            axes.hist(accuracies, bins=HISTOGRAM_BINS, color=CURVE_COLOURS["test"], rwidth=0.94)
            axes.set_ylabel("stores")


def draw_reliability(confidence: Calibration, path: Path) -> None:
    """Draw the reliability diagrams, with and without the model's temperature.

    Args:
        confidence: the diagrams
        path:       the picture
    """
    with _figure(path, (5 * len(confidence.charts), 4)) as figure:
        for axes, chart in zip(
            figure.subplots(1, len(confidence.charts), squeeze=False)[0],
            confidence.charts,
            strict=True,
        ):
            axes.set_title(f"{chart.title}: {chart.remark}")
            for step in chart.steps:
                lower_height = step.height / BOX_UNITS
                gap = step.gap / BOX_UNITS
                centre = (step.x + step.width / 2) / BOX_UNITS
                width = step.width / BOX_UNITS
                colour = CURVE_COLOURS["validation" if step.kind == "over" else "test"]
                axes.bar(centre, lower_height, width, color=CURVE_COLOURS["test"])
                axes.bar(centre, gap, width, bottom=lower_height, color=colour, alpha=0.45)
            axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
            axes.set(
                xlim=(0, 1),
                ylim=(0, 1),
                xlabel="confidence of the model",
                ylabel="accuracy",
            )
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


@contextmanager
def _figure(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """Yield a figure in the house style; write it to `path` as PNG unless the block raises."""
    with context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # drawn as a box; the name stays readable elsewhere
        figure = Figure(figsize=size, dpi=144, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        write_atomic(path, lambda file: figure.savefig(file, format="png"))


def _curve(axes: Axes, name: str, points: Sequence[Point]) -> None:
    if points:
        rounds, values = zip(*points, strict=True)
        label = f"{name} {values[-1]:.3f}"
        axes.plot(
            rounds,
            values,
            color=CURVE_COLOURS[name],
            linewidth=1.8,
            marker="o" if len(points) <= 30 else "",
            markersize=4,
            label=label,
        )


def _fading_colours(colour: str) -> ListedColormap:
    """Return a colour map from the page's white to `colour`."""
    strong = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    weights = np.linspace(0, 1, 256)[:, None]
    return ListedColormap(1 - weights * (1 - strong))
