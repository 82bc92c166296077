"""`report.html`: one file that shows a run to a person, made from the run directory alone."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedshelf.common.classes.display_names import ProductNames, read_from_run, write_to_run
from fedshelf.common.system.files import write_json, write_text
from fedshelf.common.text import printable
from fedshelf.server import formatting
from fedshelf.server.figure_names import RIGHT_SCENES, SCENE_FIGURES, figure_title, main_figure
from fedshelf.server.report import curves, sections
from fedshelf.server.report.charts.calibration_chart import calibration_charts
from fedshelf.server.report.charts.confusion_chart import heat_map
from fedshelf.server.report.charts.partition_chart import partition_chart
from fedshelf.server.report.class_errors import class_rows, confused_pairs
from fedshelf.server.report.naming import with_display_names
from fedshelf.server.report.run_data import RunData, read_run
from fedshelf.server.report.scenes.section import scene_part
from fedshelf.server.report.stores import store_accuracies
from fedshelf.server.report.suspects import irregular_rounds, suspects
from fedshelf.server.report.weak_spots import small_maps, weak_spots


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into a run directory; it may be written again at any time.

    The page loads nothing from the network.

    Returns:
        Its path.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: a file is damaged.
    """
    path = run_directory / "report.html"
    write_text(path, render(with_display_names(read_run(run_directory))))
    return path


def rename_classes(directory: Path, names: ProductNames) -> bool:
    """Give the classes of a finished run other names, without any training or evaluation.

    The model, the run's directory, its pictures and its report get the names.

    Args:
        directory: run directory
        names:     product name of each class that has one

    Returns:
        True if the names have changed.

    Raises:
        OSError: a file cannot be read or written.
        ValueError, FedshelfError: a file is damaged.
    """
    from fedshelf.server.report.png import write_pictures  # late: matplotlib
    from fedshelf.server.results.model_export import rename_model  # late: torch

    if names == read_from_run(directory):
        return False
    sha256 = rename_model(directory, names)
    path = directory / "summary.json"
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | {"model_sha256": sha256})
    # after the model, so that a call that was killed before can be repeated
    write_to_run(directory, names)
    write_pictures(directory)
    write_report(directory)
    return True


def render(run: RunData) -> str:
    """Render the page as HTML. Names and reasons come from stores and are escaped everywhere."""
    test = run.summary.get("test")
    classes = (run.summary.get("model") or {}).get("classes") or (
        list(test["per_class"]) if test else []
    )
    judged_classes = run.evaluation.get("classes", [])
    store_results = run.evaluation.get("stores") or {}
    if main_figure(test) in SCENE_FIGURES:  # whose photos have no class
        judged_classes, store_results = [], {}
        confusion, per_class = None, None
    else:
        confusion, per_class = (test or {}).get("confusion"), (test or {}).get("per_class")
    page = _environment().get_template("page.html.j2")
    return page.render(
        run=run,
        status=formatting.STATUS.get(str(run.summary.get("status")), "Unfinished"),
        outcome=[
            formatting.unbroken(printable(line))
            for line in formatting.describe_outcome(run.summary)
        ],
        again=sections.repeat_command(run),
        tiles=sections.tiles(run),
        is_chosen=sections.is_chosen(run),
        figure=curves.figure_chart(run),
        share=figure_title(RIGHT_SCENES.get(run.summary.get("objective", ""), "accuracy")),
        loss=curves.loss_chart(run),
        withheld=" ".join(
            filter(
                None,
                (
                    sections.withheld_losses(run),
                    sections.withheld_evaluations(run),
                    sections.hidden_by_sums(run),
                ),
            )
        ),
        stores=store_accuracies(run),
        scenes=scene_part(run, curves.run_figure(run)),
        spots=weak_spots(judged_classes, store_results),
        small=small_maps(judged_classes, store_results),
        calibration=calibration_charts(run.evaluation.get("calibration")),
        further=curves.further_figures(run),
        confused=confused_pairs(classes, confusion) if confusion else [],
        confusion=heat_map(classes, confusion) if confusion else None,
        per_class=class_rows(per_class, confusion) if per_class and confusion else [],
        old_classes=_order_old_classes(run.summary.get("old_classes")),
        partition=partition_chart(run.partition) if run.partition else None,
        attendance=sections.attendance_chart(run),
        troubles=sections.failure_rows(run),
        suspects=suspects(run),
        irregular=irregular_rounds(run),
        phases=sections.phases(run),
        round_seconds=curves.seconds_chart(run),
        settings=sections.settings(run),
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Build the page's templates; a process that writes many reports compiles them once."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": formatting.percent,
        "decimal": formatting.decimal,
        "whole": formatting.whole,
        "size": formatting.size,
        "unbroken": formatting.unbroken,
    }
    return made


def _order_old_classes(old_classes: dict[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the old classes that both models could be judged on, those that lost most first.

    They are the classes of the finished model that the run continued.
    """
    comparable = [
        (name, row)
        for name, row in ((old_classes or {}).get("per_class") or {}).items()
        if row["before"] is not None
    ]
    ordered = sorted(comparable, key=lambda item: item[1]["after"] - item[1]["before"])
    return [(printable(name), row) for name, row in ordered]
