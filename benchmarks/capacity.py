"""Measure how many stores one server can hold, with many light stores.

    python -m benchmarks.capacity --stores 3,30,100,300,1000 --cohorts 1,0.1 --rounds 4
    python -m benchmarks.capacity --stores 300 --cohorts 1 --idle 20

The table has seconds, processor time, memory and requests. Stores (`benchmarks.light_stores`)
connect over TLS with keys of their own and answer at once with a model of 62k weights, so a round's
seconds are the time that the system adds to training. If a round asks all of them, they first wait
idle until the last one joins. If it asks some, rounds begin with these, and the measurement begins
when all have joined. The light stores share the machine's cores with the server; their own
processor time is in a column of its own.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import harness
from benchmarks.contestants import QUIET
from benchmarks.harness import TAG, BenchmarkError
from benchmarks.machine import machine
from benchmarks.processes import Tree, read, ticks
from fedshelf.server.addresses import free_port
from fedshelf.server.gateway.exchange import HOLD_SECONDS
from fedshelf.server.ipc.presence import PASSED_EVERY

BIN = Path(sys.executable).parent
STORES_PER_PROCESS = 250  # light stores in one process
SETTLE_SECONDS = 8.0  # after this time all stores that have joined wait for orders
UNBOUNDED_ROUNDS = 10_000  # the run is ended from outside
ROUND_LIMIT_SECONDS = 1800.0  # a case is given up if a round takes longer
POLL_SECONDS = 0.1
PARTS = {
    "superlink": "flower-superlink",
    "door": "fedshelf.server.gateway.proxy",
    "app": "flwr-serverapp",
}
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        stores: number of stores that are enrolled and join
        cohort: share of the stores that a round asks (0..1)
        rounds: number of rounds that the measurement looks at; the first is not counted
    """

    stores: int
    cohort: float
    rounds: int

    @property
    def name(self) -> str:
        """The title of its row."""
        return f"{self.stores} stores, {self.cohort:.0%} in a round"

    @property
    def asked(self) -> int:
        """The number of stores that train in a round."""
        return max(1, round(self.stores * self.cohort))

    @property
    def is_whole(self) -> bool:
        """True if a round asks all stores.

        Then no round begins before the last store has joined.
        """
        return self.asked == self.stores


class Fleet:
    """Light stores in as many processes as they need; a context manager.

    Args:
        kits: the folder of their kits
        names: the names of the stores that join at once
        directory: the folder for their files
    """

    def __init__(self, kits: Path, names: Sequence[str], directory: Path) -> None:
        self._files = list[Path]()
        self._reports = list[Path]()
        self._processes = list[subprocess.Popen[bytes]]()
        self._kits = kits
        self._directory = directory
        parts = [
            names[begin : begin + STORES_PER_PROCESS]
            for begin in range(0, len(names), STORES_PER_PROCESS)
        ]
        for number, part in enumerate(parts):
            self._files.append(directory / f"names-{number}")
            self._reports.append(directory / f"report-{number}.json")
            self._files[-1].write_text("\n".join(part) + "\n", encoding="utf-8")

    def __enter__(self) -> "Fleet":
        for number, (names, report) in enumerate(zip(self._files, self._reports, strict=True)):
            with (self._directory / f"fleet-{number}.log").open("wb") as log:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.light_stores",
                    self._kits,
                    names,
                    report,
                ]
                self._processes.append(
                    subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)
                )
        return self

    def join(self, name: str) -> None:
        """Let one more store join."""
        with self._files[-1].open("a", encoding="utf-8") as file:
            file.write(f"{name}\n")

    def cpu(self) -> float:
        """Return the processor seconds so far."""
        return sum(ticks(process.pid) for process in self._processes) / TICKS_PER_SECOND

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def reports(self) -> list[dict[str, Any]]:
        """Return the report of each process, once all have ended."""
        return [json.loads(report.read_text(encoding="utf-8")) for report in self._reports]


class Server:
    """`flower-server` with credentials for the case's stores; a context manager.

    Args:
        case: the measurement
        directory: the folder for its files
    """

    def __init__(self, case: Case, directory: Path) -> None:
        self._case = case
        self.run = directory / "run"
        self._log = directory / "server.log"
        self._credentials = directory / "chain" / "server"
        self.port = free_port()
        self._env = {**os.environ, **QUIET, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self._env["FEDSHELF_HOME"] = str(directory / "home")
        self.kits = directory / "chain" / "kits"
        self.names = [f"store-{number:04}" for number in range(case.stores)]

    def provision(self) -> None:
        """Make a kit with a key for each store."""
        chain = [
            "--host",
            "localhost",
            "--port",
            str(self.port),
            "--stores",
            ",".join(self.names),
            "--keys-in-kits",
        ]
        command = [
            str(BIN / "flower-server"),
            "provision",
            *chain,
            "--out",
            str(self._credentials.parent),
        ]
        subprocess.run(command, env=self._env, stdout=subprocess.DEVNULL, check=True)

    def __enter__(self) -> "Server":
        case = self._case
        settings = {
            "cohort.min_stores": case.asked, "cohort.fraction": case.cohort,
            "run.rounds": case.rounds if case.is_whole else UNBOUNDED_ROUNDS,
            "cohort.wait": ROUND_LIMIT_SECONDS,
            "model.name": "niid-cnn", "data.image_size": 32, "data.flip": "false", "run.seed": 1,
            "train.batch_size": 32, "train.epochs": 1, "train.lr": 0.05,
        }  # fmt: skip
        command = [
            BIN / "flower-server",
            "start",
            "--out",
            self.run,
            "--credentials",
            self._credentials,
        ]
        command += ["--host", "127.0.0.1", "--live-port", "0", "--stores", str(case.stores)]
        command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        tag = f"{TAG}={uuid.uuid4().hex}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), env=self._env | dict([tag.split("=")]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.tree = Tree(tag, self._process.pid)
        return self

    def __exit__(self, *_: object) -> None:
        self.tree.end()
        self._process.wait()

    def cpu(self) -> dict[str, float]:
        """Return the processor seconds so far: of SuperLink, gateway and app, and of all."""
        used = dict.fromkeys([*PARTS, "all"], 0.0)
        alive = self.tree.alive()
        for pid in alive:
            words = read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace")
            seconds = ticks(pid) / TICKS_PER_SECOND
            used["all"] += seconds
            for part, mark in PARTS.items():
                used[part] += seconds if mark in words else 0.0
        return used

    def rounds(self) -> list[dict[str, Any]]:
        """Return the lines of its history."""
        path = self.run / "history.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def await_rounds(self, count: int) -> float:
        """Wait until `count` rounds are done.

        Returns:
            The time at which they were, as of time.monotonic().

        Raises:
            BenchmarkError: the server ended, or ROUND_LIMIT_SECONDS passed.
        """
        until = time.monotonic() + ROUND_LIMIT_SECONDS
        while len(self.rounds()) < count:
            if self._process.poll() is not None or time.monotonic() > until:
                raise BenchmarkError(
                    f"No round {count}:\n{self._log.read_text(errors='replace')[-3000:]}"
                )
            time.sleep(POLL_SECONDS)
        return time.monotonic()

    def await_joined(self, count: int) -> None:
        """Wait until the server sees `count` stores.

        Raises:
            BenchmarkError: the server ended, or ROUND_LIMIT_SECONDS passed.
        """
        until = time.monotonic() + ROUND_LIMIT_SECONDS
        board = self.run / "flower" / "stores.json"
        while (
            not board.exists()
            or sum(store["state"] != "away" for store in _read_stores(board)) < count
        ):
            if self._process.poll() is not None or time.monotonic() > until:
                raise BenchmarkError(
                    f"{count} did not join:\n{self._log.read_text(errors='replace')[-3000:]}"
                )
            time.sleep(POLL_SECONDS)


def _read_stores(board: Path) -> list[Mapping[str, Any]]:
    stores = json.loads(board.read_text(encoding="utf-8"))
    return list(stores.values()) if isinstance(stores, dict) else list(stores)


def measured(case: Case, idle_seconds: float) -> dict[str, float]:
    """Run one server and its stores, and measure them from the first to the last round.

    Args:
        case: the measurement
        idle_seconds: seconds of idling that are measured before; 0: none

    Returns:
        A number for each of `COLUMNS`.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        server = Server(case, directory)
        server.provision()
        stack.enter_context(server)
        fleet = stack.enter_context(Fleet(server.kits, server.names[:-1], directory))
        server.await_joined(case.stores - 1)
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        cpu_before = server.cpu()
        time.sleep(idle_seconds)
        cpu_after = server.cpu()
        idle_passed = time.monotonic() - began
        idle = {
            part: (seconds - cpu_before[part]) / idle_passed for part, seconds in cpu_after.items()
        }
        fleet.join(server.names[-1])
        first = len(server.rounds()) + 1
        ends = [server.await_rounds(first)]
        cpu_before = server.cpu()
        fleet_cpu_before = fleet.cpu()
        peak = server.tree.memory()
        for number in range(first + 1, first + case.rounds - 1):
            ends.append(server.await_rounds(number))
            peak = max(peak, server.tree.memory())
        cpu_after = server.cpu()
        stores = (case.rounds - 2) * case.asked
        light = fleet.cpu() - fleet_cpu_before
        fleet_counts = _of_fleet(stack, fleet, case, server)
        median = statistics.median(later - before for before, later in itertools.pairwise(ends))
        return {
            "round": median,
            "rate": fleet_counts["requests"] * case.asked / median,
            "superlink": (cpu_after["superlink"] - cpu_before["superlink"]) / stores,
            "door": (cpu_after["door"] - cpu_before["door"]) / stores,
            "app": (cpu_after["app"] - cpu_before["app"]) / stores,
            "server": (cpu_after["all"] - cpu_before["all"]) / stores,
            "light": light / stores,
            "memory": peak,
            "idle": idle["all"] if idle_seconds else math.nan,
            **fleet_counts,
        }


def _of_fleet(stack: ExitStack, fleet: Fleet, case: Case, server: Server) -> dict[str, float]:
    """Return the counts of the light stores, once server and stores have ended."""
    if case.is_whole:
        server.await_rounds(case.rounds)
    stack.close()
    reports = fleet.reports()
    waits = sorted(wait for report in reports for wait in report["idle"])
    requests = sum(sum(report["requests"].values()) for report in reports)
    failures = sum(
        count
        for report in reports
        for name, count in report["failures"].items()
        if name not in FAILURES_BEFORE_REGISTRATION
    )
    order_requests = sum(
        count
        for report in reports
        for name, count in report["requests"].items()
        if name not in IDLE_CALLS
    )
    return {
        # else most are of joining
        "requests": order_requests / case.rounds / case.asked if case.is_whole else math.nan,
        "p99": max(waits[int(0.99 * len(waits))] - HOLD_SECONDS, 0.0) if waits else 0.0,
        "failures": failures / requests,
    }


# to stores that are not registered yet
FAILURES_BEFORE_REGISTRATION = {f"activate-node {status}" for status in (401, 412, 503)}
IDLE_CALLS = ("pull-messages", "send-node-heartbeat", "activate-node")
COLUMNS = {
    "round": ("round, s", 1, 1.0), "server": ("CPU a store and round, ms", 0, 1e-3),
    "superlink": ("SuperLink, ms", 0, 1e-3), "door": ("door, ms", 0, 1e-3),
    "app": ("app, ms", 0, 1e-3), "light": ("light store, ms", 0, 1e-3),
    "requests": ("requests a store and round", 1, 1.0), "rate": ("requests a second", 0, 1.0),
    "p99": (f"p99 of an idle poll beyond {HOLD_SECONDS:g} s, ms", 0, 1e-3),
    "memory": ("memory, MB", 0, 1e6), "idle": ("idle server, % of a core", 0, 0.01),
    "failures": ("failed requests, %", 1, 0.01),
}  # fmt: skip


def show(samples: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Print a row for each case."""
    table = Table(
        title=(
            f"How many stores one server holds ({machine()['cpu']})" if "cpu" in machine() else None
        )
    )
    table.add_column("")
    for title, _, _ in COLUMNS.values():
        table.add_column(title, justify="right")
    for name, case_samples in samples.items():
        middle = {key: statistics.median(sample[key] for sample in case_samples) for key in COLUMNS}
        texts = [f"{middle[key] / unit:.{digits}f}" for key, (_, digits, unit) in COLUMNS.items()]
        table.add_row(name, *("–" if word == "nan" else word for word in texts))
    Console(width=200).print(table)


def main() -> None:
    """Measure the cases, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stores", default="3,30,100,300,1000", help="numbers, separated by commas"
    )
    parser.add_argument("--cohorts", default="1,0.1", help="shares of the stores that a round asks")
    parser.add_argument(
        "--rounds", type=int, default=4, help="rounds of each case; the first is not counted"
    )
    parser.add_argument(
        "--idle",
        type=float,
        default=PASSED_EVERY,
        help="seconds of idling that are measured, where all are asked",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the raw results there, too"
    )
    options = parser.parse_args()
    sizes = [int(word) for word in options.stores.split(",")]
    shares = [float(word) for word in options.cohorts.split(",")]
    cases = [
        Case(size, share, options.rounds) for size in sizes for share in shares if size * share >= 1
    ]
    samples = {}
    for case in cases:
        samples[case.name] = [measured(case, options.idle if case.is_whole else 0.0)]
        print(case.name, json.dumps(samples[case.name][0]), file=sys.stderr, flush=True)
    show(samples)
    harness.write(options.json, "capacity", {"rounds": options.rounds}, samples)


if __name__ == "__main__":
    main()
