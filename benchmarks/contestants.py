"""The contestants: `flower-simulation`, a bare PyTorch loop, Flower's simulation, pfl-research."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Contestant, Measured, Sample, measure
from benchmarks.machine import cores
from benchmarks.work import Work

RIVALS = Path(__file__).with_name("rivals")
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ADDRESS": "local",  # Flower's simulation would join a cluster that runs on this machine
}
Record = dict[str, Any]


@dataclass(frozen=True)
class Images:
    """The same images in two forms.

    Attributes:
        dataset: the value of `--dataset` for ours
        arrays: the file of arrays that rivals read
    """

    dataset: str
    arrays: Path


def contestants(work: Work, images: Images, pfl_python: str) -> dict[str, Contestant]:
    """Return all contestants that can do this work on this machine, ours first.

    A contestant that cannot is named on standard error.

    Args:
        work: the training
        images: its images
        pfl_python: the Python interpreter that has pfl
    """
    many = cores()
    contestants_here: dict[str, Contestant] = {"ours": partial(ours, work, images)}
    alone = partial(rival, work, images, 1)
    together = partial(rival, work, images, many)
    contestants_here["bare loop (1 process)"] = partial(alone, "bare.py", sys.executable)
    on_cpu = work.device == "cpu"
    if on_cpu and many > 1:  # several processes would only queue for one GPU
        contestants_here[f"bare loop ({many} processes)"] = partial(
            together, "bare.py", sys.executable
        )
    if on_cpu:
        contestants_here["Flower"] = partial(together, "flower_run.py", sys.executable)
    if not _has_pfl(pfl_python):
        print(
            f"pfl-research is left out: {pfl_python} cannot import pfl; see benchmarks/README.md.",
            file=sys.stderr,
        )
        return contestants_here
    contestants_here["pfl-research (1 process)"] = partial(alone, "pfl_run.py", pfl_python)
    if on_cpu and many > 1:
        contestants_here[f"pfl-research ({many} processes)"] = partial(
            together, "pfl_run.py", pfl_python
        )
    return contestants_here


def _has_pfl(python: str) -> bool:
    try:
        return not subprocess.run(
            [python, "-c", "import pfl"], capture_output=True, check=False
        ).returncode
    except OSError:
        return False


def ours(work: Work, images: Images) -> Sample:
    """Run `flower-simulation run` in a new run directory."""
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "run" / "history.jsonl"
        measured = measure(command(work, images.dataset, history.parent), history=history)
        records = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    return sample(measured, [translated(record, work.epochs) for record in records])


def command(work: Work, dataset: str, out: Path) -> list[str]:
    """Return our command line for this work.

    Args:
        work: the training
        dataset: the value of `--dataset`
        out: the run directory
    """
    flags = {
        "dataset": dataset, "stores": work.stores, "partition": "iid",
        "fraction": work.cohort / work.stores, "rounds": work.rounds, "epochs": work.epochs,
        "batch-size": work.batch_size, "lr": work.lr, "model": work.model, "seed": work.seed,
        "device": work.device, "out": out,
    }  # fmt: skip
    settings = {
        "train.momentum": work.momentum,
        "evaluation.every": work.every,
        "data.flip": "false",
    }
    words = [str(Path(sys.executable).with_name("flower-simulation")), "run"]
    words += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return words + [
        word for name, value in settings.items() for word in ("--set", f"{name}={value}")
    ]


def rival(work: Work, images: Images, processes: int, script: str, python: str) -> Sample:
    """Run a script of `rivals/`, which gets the work and prints a line for each round.

    Args:
        work: the training
        images: its images
        processes: number of processes to train in
        script: the file name of the script
        python: the interpreter
    """
    task = json.dumps(asdict(work) | {"data": str(images.arrays), "processes": processes})
    with tempfile.TemporaryDirectory() as home:
        measured = measure([python, RIVALS / script, task], env=QUIET | {"FLWR_HOME": home})
    return sample(measured, printed(measured.output))


def printed(output: str) -> list[Record]:
    """Return the lines of rounds in a rival's output."""
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"round":')]


def translated(record: Record, epochs: int) -> Record:
    """Convert a line of our history to the form in which rivals report a round.

    Args:
        record: the line
        epochs: passes over a store's images in a round

    Returns:
        The round, images trained on, seconds from sending the model to having the new one, and
        accuracy (0..1 or None).
    """
    return {
        "round": record["round"],
        "images": record["train"]["images"] * epochs,
        "seconds": record["seconds"]["train"] + record["seconds"]["aggregate"],
        "accuracy": record["test"]["accuracy"] if record["test"] else None,
    }


def sample(measured: Measured, rounds: Sequence[Record]) -> Sample:
    """Return the numbers of one run.

    `images_per_second` is the median over the rounds after the first, without evaluation.

    Args:
        measured: the measured command
        rounds: a record for each round
    """
    speeds = [record["images"] / record["seconds"] for record in rounds]
    scores = [record["accuracy"] for record in rounds if record["accuracy"] is not None]
    return {
        "images_per_second": statistics.median(speeds[1:] or speeds),
        "first_round": measured.first_round,
        "wall": measured.wall,
        "peak_bytes": measured.peak_bytes,
        "accuracy": scores[-1] if scores else None,
    }
