"""The share of right photos of scenes, of which no better figure is known, by its own name."""

import io
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedshelf.common.config import resolve
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.tasks.masks import RIGHT_MEAN_IOU
from fedshelf.common.tasks.task import no_classes
from fedshelf.server.figure_names import (
    RIGHT_SCENES,
    figure_heading,
    figure_title,
    listed_figures,
    main_figure,
    main_title,
    name_share,
)
from fedshelf.server.formatting import describe_outcome
from fedshelf.server.report.console import RoundTable
from fedshelf.server.report.json_log import JsonLog
from fedshelf.server.report.tensorboard import scalars
from fedshelf.server.results.per_store import summarize_counts, to_history
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.scores import Scores
from fedshelf.server.trackers.tracker import curves, outcome
from fedshelf.server.training.final_evaluation import FinalEvaluation
from fedshelf.simulations.python.simulated_run import draw_curves
from tests.helpers.sample_run import history

TITLES = {
    "boxes": "photos without a mistake",
    "masks": f"photos with a mean IoU of {RIGHT_MEAN_IOU:.0%} or more",
}


def noised(right: int, wrong: int) -> Counts:
    """Counts of photos of scenes whose boxes are withheld."""
    return Counts(no_classes(1), 8.0, right, wrong, None, {})


def record_of(objective: str) -> dict[str, Any]:
    """A round of two stores that tell numbers of right photos alone: 3 of 4, and 1 of 4."""
    stores = {"oslo": noised(3, 1), "rome": noised(1, 3)}
    told = summarize_counts(noised(4, 4), objective) | to_history(stores, objective)
    (record,) = history(["oslo", "rome"], 1, failures=False)
    return record | {"test": None, "validation": told}


@pytest.mark.parametrize("objective", ["boxes", "masks"])
def test_no_place_calls_it_accuracy(objective: str) -> None:
    record = record_of(objective)
    key, title = RIGHT_SCENES[objective], TITLES[objective]
    assert main_figure(record["validation"]) == key
    assert main_title(record["validation"]) == title
    assert listed_figures(record["validation"]) == {}
    drawn = dict(scalars(record))
    assert drawn[f"validation/{key}"] == 0.5
    tracked = curves(record)
    assert tracked[f"validation/stores/oslo/{key}"] == 0.75
    assert outcome({"test": record["validation"]})[f"delivered/test/{key}"] == 0.5
    assert not [name for name in (*drawn, *tracked) if name.endswith("accuracy")]
    stream = io.StringIO()
    with JsonLog(1, stream) as log:
        log.training(1, 0, 2)
        log.row(record)
    line = json.loads(stream.getvalue().splitlines()[-1])
    assert line[key] == {"validation": 0.5}
    assert "accuracy" not in line
    console = Console(file=io.StringIO(), force_terminal=True, width=140, height=40)
    with RoundTable(1, console=console) as table:
        table.row(record)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"validation {title}" in shown
    assert "accuracy" not in shown
    assert [axes.get_title() for axes in draw_curves({"run": [record]}).axes] == ["loss", title]


@pytest.mark.parametrize("objective", ["boxes", "masks"])
def test_the_summary_and_its_lines_name_it(objective: str, tmp_path: Path) -> None:
    stores = {"oslo": noised(3, 1), "rome": noised(1, 3)}
    evaluation = FinalEvaluation(
        ("product",), Scores(None, stores), Scores(None, {}), None, objective=objective
    )
    with closing(RunDirectory.open(tmp_path / "run", resolve())) as directory:
        summary = evaluation.to_summary(directory, {})
    assert main_title(summary["test"]) == TITLES[objective]
    summary |= {"status": "finished", "rounds": 1, "objective": objective}
    told = " ".join(describe_outcome(summary))
    assert f"Share of {TITLES[objective]}: 50.0%" in told
    assert "accuracy" not in told


def test_a_classifiers_accuracy_and_the_ap_of_boxes_keep_their_names() -> None:
    assert name_share({"accuracy": 0.5}, "classes") == {"accuracy": 0.5}
    assert name_share({"accuracy": 0.5, "ap": 0.25}, "boxes") == {"accuracy": 0.5, "ap": 0.25}
    assert [figure_title(key) for key in ("accuracy", "ap", "iou")] == ["accuracy", "AP", "IoU"]
    assert [figure_heading(key) for key in ("accuracy", "ap")] == ["Accuracy", "AP"]
    assert figure_heading("photos_without_mistake") == "Photos without a mistake"
