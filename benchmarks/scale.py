"""Measure the cost of a simulation of 100, 1,000 and 10,000 stores, with cohorts of 10 to 100.

    python -m benchmarks.scale ../shared/data/cifar10 --rounds 20

One data set is dealt to all of them. The server evaluates on its test set in the last round only,
so that the rest is the cost of stores and rounds. Start-up and files should hardly depend on the
number of stores, and a round only on the cohort: the lines below the table have the cost of a round
per store trained, which should not grow.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Column, Sample, alternate, measure, parser, table, values, write

STORES = (100, 1000, 10_000)
COHORTS = (10, 50, 100)
COLUMNS = [
    Column("startup", "start-up s", 2),
    Column("round", "round ms", 1, unit=1e-3),
    Column("end", "after the last round s", 2),
    Column("peak", "peak memory MB", unit=1e6),
    Column("history", "history B a round"),
    Column("outcome", "summary kB", 1, unit=1e3),
    Column("report", "report.html kB", 1, unit=1e3),
    Column("whole", "run directory MB", 1, unit=1e6),
]


def once(dataset: str, stores: int, cohort: int, rounds: int, holdout: float) -> Sample:
    """Run `rounds` rounds once; a round's time is the median, without the first.

    Args:
        dataset: the value of `--dataset`
        stores: number of stores
        cohort: stores of a round
        rounds: number of rounds
        holdout: share of each store's images that is held out (0..1)
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = {
            "data.dataset": dataset, "data.stores": stores, "data.holdout": holdout,
            "data.image_size": 32, "model.name": "niid-cnn", "cohort.fraction": cohort / stores,
            "evaluation.every": rounds, "run.rounds": rounds, "run.out": out, "run.seed": 1,
        }  # fmt: skip
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        command: list[str | Path] = [
            Path(sys.executable).with_name("flower-simulation"),
            "run",
            *flags,
        ]
        measured = measure(command, history=out / "history.jsonl")
        summary = json.loads((out / "summary.json").read_text())
        records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        return {
            "startup": summary["seconds"]["startup"],
            "round": statistics.median(record["seconds"]["train"] for record in records[1:]),
            "end": measured.wall - summary["seconds"]["total"],
            "peak": measured.peak_bytes,
            "history": (out / "history.jsonl").stat().st_size / rounds,
            "outcome": (out / "summary.json").stat().st_size,
            "report": (out / "report.html").stat().st_size,
            "whole": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
        }


def name(stores: int, cohort: int) -> str:
    """Return the title of a row."""
    return f"{stores:,} stores, {cohort} a round"


def main() -> None:
    """Print the table."""
    command_line = parser(__doc__, times=1)
    command_line.add_argument("dataset")
    command_line.add_argument("--rounds", type=int, default=20)
    command_line.add_argument(
        "--holdout",
        type=float,
        default=0.0,
        help="share of each store's images held out; default 0",
    )
    arguments = command_line.parse_args()
    once(arguments.dataset, 10, 10, 2, 0)  # decode once
    contestants = {
        name(stores, cohort): lambda stores=stores, cohort=cohort: once(
            arguments.dataset, stores, cohort, arguments.rounds, arguments.holdout
        )
        for stores in STORES
        for cohort in COHORTS
    }
    samples = alternate(contestants, arguments.times)
    table("Stores and cohorts", samples, COLUMNS)
    for stores in STORES:
        rounds = [
            statistics.median(values(samples[name(stores, cohort)], "round")) for cohort in COHORTS
        ]
        costs = (
            f"{1000 * seconds / cohort:.2f} ({cohort})"
            for cohort, seconds in zip(COHORTS, rounds, strict=True)
        )
        print(f"{stores:,} stores, ms of a round per store trained (cohort): {', '.join(costs)}")
    write(
        arguments.json,
        "scale",
        {"dataset": arguments.dataset, "rounds": arguments.rounds, "holdout": arguments.holdout},
        samples,
    )


if __name__ == "__main__":
    main()
