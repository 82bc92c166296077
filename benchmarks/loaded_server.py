"""A server with light stores, each in processes of their own, for benchmarks that load it."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants import QUIET
from benchmarks.harness import TAG, BenchmarkError
from benchmarks.processes import Tree, read, ticks
from fedshelf.server.addresses import free_port

BIN = Path(sys.executable).parent
STORES_PER_PROCESS = 250  # light stores in one process
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
