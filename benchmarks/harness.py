"""The parts that all benchmarks share: measure a command, alternate contestants, print medians.

A contestant does the work once and returns a sample: {column: number}. `alternate` calls them in
turn, so that other work on the machine hits all of them alike. Ratios are taken within a turn.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.processes import SAMPLER_PAUSE_FACTOR, Tree

Sample = Mapping[str, float | None]
Contestant = Callable[[], Sample]
Samples = Mapping[str, Sequence[Sample]]
# how a history's line of the first round begins: ours, and what rivals print
ROUND_1 = b'{"round": 1,'
# environment variable by which a measured process and its descendants are found
TAG = "BENCHMARK_TAG"
POLL_SECONDS = 0.02


class BenchmarkError(Exception):
    """A measured command failed."""


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes:
        wall: seconds from the start of the process to its end
        first_round: seconds until the history had the line of round 1; None if it never had one
        peak_bytes: most memory at one time, as proportional set size of all its processes; 0 where
            there is no /proc
        output: the text that it wrote to standard output
    """

    wall: float
    first_round: float | None
    peak_bytes: int
    output: str


@dataclass(frozen=True)
class Column:
    """A column of a table: medians of samples.

    Attributes:
        key: the key of the number in a sample
        title: the column's title
        digits: digits after the decimal point
        unit: size of the unit that is shown, in units of the sample
        ratio: whether a column with the ratio of ours to the row's follows
    """

    key: str
    title: str
    digits: int = 0
    unit: float = 1.0
    ratio: bool = False


def measure(
    command: Sequence[str | Path],
    *,
    history: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    limit: float = 3600.0,
) -> Measured:
    """Run a command to its end, and end all processes that it leaves behind.

    Args:
        command: the words of the command
        history: the file that gets one JSON line a round; None: standard output
        env: environment variables in addition to this process's own
        cwd: the folder to run it in; None: this process's own
        limit: seconds after which it is ended because it hangs

    Raises:
        BenchmarkError: the command failed or was ended; the message has the end of its standard
            error.
    """
    tag = uuid.uuid4().hex
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        err = Path(folder) / "err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            began = time.perf_counter()
            process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                cwd=cwd, env=os.environ | dict(env or {}) | {TAG: tag}, start_new_session=True,
            )  # fmt: skip
            watch = _Watch(Tree(f"{TAG}={tag}", process.pid), history or out, began, limit)
            watch.start()
            try:
                code = process.wait()
                wall = time.perf_counter() - began
            finally:
                watch.finish()
        if code:
            error_text = err.read_text(errors="replace")[-3000:]
            ending = f"ended with code {code}"
            ending = f"had not ended after {limit:g} s" if watch.late else ending
            raise BenchmarkError(f"{' '.join(map(str, command))} {ending}:\n{error_text}")
        return Measured(wall, watch.first_round, watch.peak, out.read_text(errors="replace"))


class _Watch(threading.Thread):
    """Thread that watches a command: the end of round 1, and the most memory."""

    def __init__(self, tree: Tree, history: Path, began: float, limit: float) -> None:
        super().__init__(daemon=True)
        self._end = began + limit
        self.late = False
        self._tree = tree
        self._history = history
        self._began = began
        self._ended = threading.Event()
        self.first_round: float | None = None
        self.peak = 0

    def run(self) -> None:
        """Look at the command until it ends."""
        due = time.perf_counter()
        while not self._ended.wait(POLL_SECONDS):
            self._look()
            if time.perf_counter() > self._end:
                self.late = True
                self._tree.end()
                return
            if (now := time.perf_counter()) >= due:
                self.peak = max(self.peak, self._tree.memory())
                due = now + SAMPLER_PAUSE_FACTOR * (time.perf_counter() - now)

    def finish(self) -> None:
        """Look a last time, and end the processes that are left behind."""
        self._ended.set()
        self.join()
        # a short run may have ended between two looks; what it left behind is still there
        self._look()
        self.peak = max(self.peak, self._tree.memory())
        self._tree.end()

    def _look(self) -> None:
        if self.first_round is None and self._history.exists():
            lines = self._history.read_bytes().splitlines(keepends=True)
            if any(line.startswith(ROUND_1) and line.endswith(b"\n") for line in lines):
                self.first_round = time.perf_counter() - self._began


def alternate(contestants: Mapping[str, Contestant], times: int) -> dict[str, list[Sample]]:
    """Run every contestant once, in turn, `times` times over.

    Progress goes to standard error.

    Returns:
        Name -> a sample for each turn.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contestants}
    for turn in range(1, times + 1):
        for name, contestant in contestants.items():
            print(f"{turn}/{times} {name} ...", end=" ", file=sys.stderr, flush=True)
            began = time.perf_counter()
            samples[name].append(contestant())
            print(f"{time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    return samples


def table(title: str, samples: Samples, columns: Sequence[Column], ours: str = "ours") -> None:
    """Print a row for each contestant: median (least to most), and ratios of ours to it.

    Args:
        title: the title of the table
        samples: name -> a sample for each turn
        columns: the columns
        ours: the name of the row to which ratios are taken
    """
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    for column in columns:
        shown.add_column(column.title, justify="right")
        if column.ratio:
            shown.add_column("ratio", justify="right")
    for name, row in samples.items():
        cells = [cell for column in columns for cell in _cells(row, samples.get(ours, ()), column)]
        shown.add_row(name, *cells)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(shown)
    console.print(
        "median (least to most); ratio: ours divided by this row's, median over turns",
        highlight=False,
    )
    console.print(" · ".join(machine().values()), highlight=False)


def values(samples: Sequence[Sample], key: str) -> list[float]:
    """Return the samples' values of `key`."""
    return [value for sample in samples if (value := sample.get(key)) is not None]


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample], key: str) -> float | None:
    """Return the median over turns of ours divided by theirs in the same turn.

    It is None if they have no turn in common.
    """
    pairs = [(a.get(key), b.get(key)) for a, b in zip(ours, theirs, strict=False)]
    ratios = [a / b for a, b in pairs if a is not None and b]
    return statistics.median(ratios) if ratios else None


def _cells(samples: Sequence[Sample], ours: Sequence[Sample], column: Column) -> list[str]:
    numbers = [value / column.unit for value in values(samples, column.key)]
    text = f"{statistics.median(numbers):,.{column.digits}f}" if numbers else "-"
    if len(numbers) > 1:
        text += f" ({min(numbers):,.{column.digits}f} to {max(numbers):,.{column.digits}f})"
    if not column.ratio:
        return [text]
    value = ratio(ours, samples, column.key)
    return [text, "-" if value is None else f"{value:.2f}"]


def parser(description: str | None, times: int = 3) -> argparse.ArgumentParser:
    """Return a command line with the options of every benchmark: --times and --json.

    Args:
        description: the text of --help
        times: the default number of turns
    """
    command_line = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command_line.add_argument("--times", type=int, default=times, help=f"turns; default {times}")
    command_line.add_argument(
        "--json", type=Path, metavar="FILE", help="write the raw results there, too"
    )
    return command_line


def write(path: Path | None, name: str, settings: Mapping[str, Any], samples: Samples) -> None:
    """Write the raw results as JSON, with the machine, its versions and the date.

    Args:
        path: the file; None: nothing is written
        name: the benchmark
        settings: the settings of the work
        samples: name -> a sample for each turn
    """
    if path is None:
        return
    report = {
        "benchmark": name,
        "machine": machine(),
        "settings": dict(settings),
        "samples": samples,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
