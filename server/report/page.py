"""`report.html`: one file that shows a run to a person, made from the files in the run directory
alone.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedshelf.common.system.files import write_text
from fedshelf.common.wording import printable
from fedshelf.server import formatting
from fedshelf.server.report import sections
from fedshelf.server.report.charts.calibration_chart import trust
from fedshelf.server.report.charts.confusion_chart import heat_map
from fedshelf.server.report.charts.partition_chart import stacks
from fedshelf.server.report.class_errors import class_rows, confused
from fedshelf.server.report.naming import for_people
from fedshelf.server.report.run_data import RunData, read
from fedshelf.server.report.stores import stores
from fedshelf.server.report.suspects import doubts, taken_back
from fedshelf.server.report.weak_spots import small_maps, weak_spots


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into a run directory and return its path; it may be written again at any
    time.

    The page loads nothing from the network. Raises OSError, and ValueError for a damaged file.
    """
    path = run_directory / "report.html"
    write_text(path, render(for_people(read(run_directory))))
    return path


def render(run: RunData) -> str:
    """Render the page as text. Names and reasons come from stores and are escaped everywhere."""
    test = run.summary.get("test")
    classes = (run.summary.get("model") or {}).get("classes") or (
        list(test["per_class"]) if test else []
    )
    judged = run.evaluation.get("classes", [])
    each = run.evaluation.get("stores") or {}
    page = _environment().get_template("page.html.j2")
    return page.render(
        run=run,
        status=formatting.STATUS.get(str(run.summary.get("status")), "Unfinished"),
        outcome=[formatting.unbroken(printable(line)) for line in formatting.outcome(run.summary)],
        again=sections.command(run),
        tiles=sections.tiles(run),
        is_chosen=formatting.is_best_delivered(run.summary),
        accuracy=sections.accuracy_chart(run),
        loss=sections.loss_chart(run),
        stores=stores(run),
        spots=weak_spots(judged, each),
        small=small_maps(judged, each),
        trust=trust(run.evaluation.get("calibration")),
        confused=confused(classes, test["confusion"]) if test and test.get("confusion") else [],
        confusion=heat_map(classes, test["confusion"]) if test and test.get("confusion") else None,
        per_class=(
            class_rows(test["per_class"], test["confusion"])
            if test and test.get("per_class")
            else []
        ),
        old_classes=_worst_hit_first(run.summary.get("old_classes")),
        partition=stacks(run.partition) if run.partition else None,
        attendance=sections.attendance_chart(run),
        troubles=sections.troubles(run),
        doubts=doubts(run),
        taken_back=taken_back(run),
        phases=sections.phases(run),
        round_seconds=sections.seconds_chart(run),
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


def _worst_hit_first(found: dict[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the old classes of a run that continued a finished model, as far as both models could
    be judged.
    """
    told = [
        (name, row)
        for name, row in ((found or {}).get("per_class") or {}).items()
        if row["before"] is not None
    ]
    ordered = sorted(told, key=lambda item: item[1]["after"] - item[1]["before"])
    return [(printable(name), row) for name, row in ordered]
