"""The outcome of a run for a Python program: history, summary, model, report and curves."""

import json
from collections.abc import Mapping
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedshelf.common.errors import RunError
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.text import printable
from fedshelf.server.figure_names import main_figure, main_title
from fedshelf.server.report.naming import describe_outcome
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.simulations.python.given_objects import GivenObjects
from fedshelf.simulations.python.notebook import rounds_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedshelf.common.inference.finished_model import FinishedModel

REPORT_FILE = "report.html"
FRAME_HEIGHT_PIXELS = 700
LAST_ROUNDS = 5  # rounds that a notebook shows below a run


class ReportPath(type(Path())):  # type: ignore[misc]
    """The path of a report, which a notebook shows as the page itself."""

    def _repr_html_(self) -> str:
        page = escape(self.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" style="width:100%;border:0" height="{FRAME_HEIGHT_PIXELS}"'
            ' sandbox="allow-scripts"></iframe>'
        )


class SimulatedRun:
    """A run, finished or stopped.

    Args:
        directory: of the run
        given: the objects that it was given, which its model may need
    """

    def __init__(self, directory: Path, given: GivenObjects | None = None) -> None:
        self.directory = directory
        self._given = given or GivenObjects()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of `history.jsonl`: everything about each round."""
        return RunDirectory(self.directory).history()

    @property
    def history(self) -> Any:
        """Main figures of each round: a DataFrame where pandas is installed, else a list of dicts.

        Columns are `round`, `train_loss`, `stores` (that answered), `failed`, `seconds`,
        `bytes_down`, `bytes_up`, and of each judged split its metrics: `test_accuracy`,
        `validation_loss` ...
        """
        rows = [_row(record) for record in self.records]
        if find_spec("pandas") is None:
            return rows
        import pandas

        return pandas.DataFrame(rows)

    @property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`.

        Raises:
            RunError: the run was killed before it wrote one.
        """
        try:
            text = (self.directory / "summary.json").read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"There is no summary in {self.directory}: go on with"
                f" fedshelf.simulate(resume={str(self.directory)!r})."
            ) from error
        summary: dict[str, Any] = json.loads(text)
        return summary

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the run, flat: {"train.lr": 0.05, ...}."""
        from fedshelf.common.config import flatten

        return flatten(RunDirectory.read_config(self.directory))

    @property
    def model(self) -> "FinishedModel":
        """The delivered model, as `fedshelf.load` returns it.

        Raises:
            DataError: the run has none, as it was stopped at once.
        """
        from fedshelf.common.inference.finished_model import open_finished

        self._given.register()
        return open_finished(self.directory / WEIGHTS_FILE, "auto")

    def report(self) -> Path:
        """Return the path of `report.html`; a notebook shows the page.

        Raises:
            RunError: there is none.
        """
        path = ReportPath(self.directory / REPORT_FILE)
        if not path.is_file():
            raise RunError(f"There is no {REPORT_FILE} in {self.directory}: the run has not ended.")
        return path

    def curves(self) -> "Figure":
        """Return loss and accuracy (of scenes AP or IoU) over the rounds as a matplotlib figure."""
        return draw_curves({self.directory.name: self.records})

    def __repr__(self) -> str:
        status = self.summary["status"] if (self.directory / "summary.json").is_file() else "begun"
        return f"SimulatedRun({str(self.directory)!r}, {status})"

    def _repr_html_(self) -> str:
        records: list[Mapping[str, Any]] = list(self.records[-LAST_ROUNDS:])
        words = ""
        if (self.directory / "summary.json").is_file():
            lines = describe_outcome(self.summary, self.directory)
            words = "".join(f"<div>{escape(printable(line))}</div>" for line in lines)
        return f"<b>{escape(str(self.directory))}</b>{words}{rounds_table(records)}"


def _row(record: Mapping[str, Any]) -> dict[str, Any]:
    row = {
        "round": record["round"],
        "train_loss": record["train"]["loss"],
        "stores": len(record["stores"]),
        "failed": len(record["failed"]),
        "seconds": record["seconds"]["total"],
        "bytes_down": record["bytes"]["down"],
        "bytes_up": record["bytes"]["up"],
    }
    for split in ("test", "validation"):
        is_of_scenes = main_figure(record[split]) != "accuracy"
        for name, value in (record[split] or {}).items():
            is_figure = isinstance(value, int | float) or value is None
            if is_figure and not (is_of_scenes and name == "accuracy"):
                row[f"{split}_{name}"] = value
    return row


def draw_curves(runs: Mapping[str, list[dict[str, Any]]]) -> "Figure":
    """Return a figure with the training loss, and the main figure on each judged split, of runs.

    Args:
        runs: name -> history
    """
    from fedshelf.simulations.python.figure import NotebookFigure

    figure = NotebookFigure(figsize=(9, 3.4), layout="constrained")
    losses, figures = figure.subplots(1, 2)
    titles = dict[str, None]()
    for name, records in runs.items():
        label = f"{name} " if len(runs) > 1 else ""
        rows = [_row(record) for record in records]
        points = [
            (row["round"], row["train_loss"]) for row in rows if row["train_loss"] is not None
        ]
        losses.plot(*zip(*points, strict=True) if points else ([], []), label=f"{label}training")
        for split in ("validation", "test"):
            last = next((record[split] for record in records[::-1] if record[split]), None)
            key = f"{split}_{main_figure(last)}"
            judged = [(row["round"], row[key]) for row in rows if row.get(key) is not None]
            if judged:
                titles[main_title(last)] = None
                figures.plot(*zip(*judged, strict=True), label=f"{label}{split}")
    for axes, title in ((losses, "loss"), (figures, ", ".join(titles) or "accuracy")):
        axes.set_xlabel("round")
        axes.set_title(title)
        if axes.lines:
            axes.legend()
    return figure
