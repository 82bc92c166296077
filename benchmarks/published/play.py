"""Run a cell with `flower-simulation`, and make a row of the results from its run directory."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.machine import machine
from benchmarks.published.cells import Cell, read
from fedshelf.common.config import RunConfig, flatten

RUNS = Path("runs/published")
ROWS = Path(__file__).with_name("results") / "rows.jsonl"


class Row(BaseModel):
    """One run of a cell: a line of the results.

    Attributes:
        cell: the name of the cell
        seed: the seed
        budget: rounds x local epochs
        reduced: whether that is less than the cell has
        counts: store -> training images of each class
        curve: accuracy on the test images after each round (0..1)
        seconds: seconds of the whole run, on a machine that may have done other work
        machine: the machine in words
        weights_sha256: hash of the final weights
        split: whose split of the images it is; "": ours
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    seed: int
    budget: str
    reduced: bool
    counts: Mapping[str, Sequence[int]]
    curve: Sequence[float]
    seconds: float
    machine: str
    weights_sha256: str
    split: str = ""

    @property
    def last(self) -> float:
        """The accuracy after the last round."""
        return self.curve[-1]

    @property
    def best(self) -> float:
        """The best accuracy after any round: chosen on the test images, so slightly too good."""
        return max(self.curve)


def play(cell: Cell, workers: int) -> Row:
    """Run the cell, or continue the run that an earlier command began.

    A finished run is only read.

    Args:
        cell: the cell, with its seed
        workers: processes on a CPU; 0: one per core

    Raises:
        SystemExit: it cannot be run here; `flower-simulation` has printed the reason.
    """
    parts = cell.name, cell.split, cell.budget.replace(" ", ""), str(cell.config.run.seed)
    out = RUNS / "-".join(filter(None, parts))
    if not is_finished(out):
        command = [
            str(Path(sys.executable).with_name("flower-simulation")),
            "run",
            "--out",
            str(out),
        ]
        command += [*assignments(cell.config), "--set", f"run.workers={workers}"]
        command += ["--resume"] if (out / "config.toml").exists() else []
        if code := subprocess.run(command, check=False).returncode:
            raise SystemExit(code)
    return row(cell, out)


def is_finished(out: Path) -> bool:
    """Return whether the run in this directory has come to its end."""
    summary = out / "summary.json"
    return summary.exists() and json.loads(summary.read_text())["status"] == "finished"


def assignments(config: RunConfig) -> list[str]:
    """Return the settings as --set flags, without those that have their default."""
    plain = flatten(RunConfig())
    wanted = flatten(config)
    return [
        word
        for key, value in wanted.items()
        if value != plain[key]
        for word in ("--set", f"{key}={value}")
    ]


def row(cell: Cell, out: Path) -> Row:
    """Return the row of a finished run."""
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    summary = json.loads((out / "summary.json").read_text())
    machine_in_words = machine()
    return Row(
        cell=cell.name,
        seed=cell.config.run.seed,
        budget=cell.budget,
        reduced=cell.budget != read(cell.name).budget,
        counts=json.loads((out / "partition.json").read_text())["stores"],
        curve=[record["test"]["accuracy"] for record in history if record["test"]],
        seconds=round(summary["seconds"]["total"], 1),
        machine=" · ".join(machine_in_words[key] for key in ("cpu", "gpu", "versions", "date")),
        weights_sha256=summary["weights_sha256"],
        split=cell.split,
    )


def append(new_row: Row, file: Path) -> None:
    """Add a row to a file, unless it has the very same run already."""
    if (new_row.cell, new_row.weights_sha256) in {
        (row.cell, row.weights_sha256) for row in load(file)
    }:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(new_row.model_dump_json() + "\n")


def load(file: Path) -> list[Row]:
    """Return all rows of a file of results; none if there is no such file."""
    if not file.exists():
        return []
    return [Row.model_validate_json(line) for line in file.read_text(encoding="utf-8").splitlines()]
