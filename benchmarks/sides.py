"""The two sides of `benchmarks.deployment`: ours, and Flower's own commands.

Both have their server and stores as processes of their own, with all state in one folder, and
stores that reach the server through a `Wire`. A process that is killed is started again at once
with the same command, as a supervisor does, unless the side does that by itself.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants import QUIET, RIVALS
from benchmarks.harness import TAG, BenchmarkError
from benchmarks.processes import Tree, read, started
from benchmarks.wire import Wire
from fedshelf.server.addresses import free_port

BIN = Path(sys.executable).parent
PLAIN_HTTP_FLAGS = ("--insecure", "--host", "127.0.0.1")
STARTUP_SECONDS = 120.0  # a server must answer within this time


@dataclass(frozen=True)
class Work:
    """The training of both sides.

    Attributes:
        rounds: number of rounds
        folders: the stores' images, as folders for ours
        files: the same images, as files for Flower's app
        batch_size: images a step
        lr: learning rate of local SGD
        momentum: momentum of local SGD
    """

    rounds: int
    folders: Sequence[Path]
    files: Sequence[Path]
    batch_size: int = 32
    lr: float = 0.05
    momentum: float = 0.9


@dataclass(frozen=True)
class Played:
    """The figures that a side itself has on a round.

    Attributes:
        training: seconds that the slowest store trained
        accuracy: accuracy on the images that stores hold out (0..1)
        seconds: seconds from the round's beginning to its end, if the side has them
    """

    training: float
    accuracy: float
    seconds: float | None = None


class Side:
    """A deployment; a context manager that ends all processes that it has started.

    `lines` is the file that gets a line a round, and `tree` all its processes, once there are any.

    Args:
        work: the training
        directory: the folder for all files
    """

    lines: Path

    def __init__(self, work: Work, directory: Path) -> None:
        self.work = work
        self.directory = directory
        self._tag = uuid.uuid4().hex
        self._env = {**os.environ, **QUIET, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self._env["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._parts: dict[str, Tree] = {}
        self._roots: dict[str, subprocess.Popen[bytes]] = {}
        self.tree: Tree | None = None
        self.port = free_port()
        self.wire = Wire(self.port)

    def __enter__(self) -> "Side":
        self.wire.__enter__()
        try:
            self.deploy()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.tree:
            self.tree.end()
        for process in self._roots.values():
            process.wait()
        self.wire.__exit__(None, None, None)

    def deploy(self) -> None:
        """Start all processes."""
        raise NotImplementedError

    def played(self) -> Mapping[int, Played]:
        """Return all rounds, by number, after the last one."""
        raise NotImplementedError

    def kill(self, victim: str) -> None:
        """Send SIGKILL to a victim, and start it again if it does not come back by itself.

        Args:
            victim: "superlink", "app", "store", or "server" for all processes of the server

        Raises:
            BenchmarkError: there is no such process.
        """
        part = "store-1" if victim == "store" else "server"
        pids = self._parts[part].alive()
        if victim in PROGRAMS:
            pids = {pid for pid in pids if PROGRAMS[victim] in program(read(pid, "cmdline"))}
        if not pids:
            raise BenchmarkError(f"There is no {victim} to kill.")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while any(started(pid) for pid in pids):
            time.sleep(0.01)
        if self._roots[part].poll() is not None:
            self.spawn(part, *self._commands[part])

    def spawn(self, name: str, command: Sequence[str | Path], env: Mapping[str, str]) -> None:
        """Start a part; its output goes to `directory/NAME.log`."""
        self._commands[name] = ([str(word) for word in command], dict(env))
        part = f"{TAG}_PART={self._tag}-{name}"
        marks = dict([part.split("=")]) | {TAG: self._tag}
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                self._commands[name][0], env=self._env | dict(env) | marks, cwd=self.directory,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self._roots[name] = process
        self._parts[name] = Tree(part, process.pid)
        self.tree = self.tree or Tree(f"{TAG}={self._tag}", process.pid)

    def said(self) -> str:
        """Return the ends of all logs, to find out what went wrong."""
        logs = sorted(self.directory.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs)


PROGRAMS = {"superlink": "flower-superlink", "app": "flwr-serverapp"}
VICTIMS = ("store", "app", "superlink", "server")


def program(cmdline: bytes) -> set[str]:
    """Return possible names of a process: the first two words of its command line."""
    words = cmdline.replace(b"\0", b" ").decode(errors="replace").split()
    return {Path(word).name for word in words[:2]}


class Ours(Side):
    """The side of `flower-server start` and `flower-client join`, with kits or with --insecure."""

    has_kits = True
    judges_each_round = True

    def deploy(self) -> None:
        """Start the server and the stores, with kits if `has_kits`."""
        self.lines = self.directory / "run" / "history.jsonl"
        stores = [folder.name for folder in self.work.folders]
        self._env |= {"FEDSHELF_HOME": str(self.directory / "home")}
        server: list[str | Path] = [
            BIN / "flower-server",
            "start",
            "--out",
            self.directory / "run",
            *self._settings(),
        ]
        server += ["--host", "127.0.0.1", "--port", str(self.port)]
        if self.has_kits:
            chain = [
                "--host",
                "localhost",
                "--port",
                str(self.wire.port),
                "--stores",
                ",".join(stores),
            ]
            provision: list[str | Path] = [
                BIN / "flower-server",
                "provision",
                *chain,
                "--out",
                self.directory / "chain",
            ]
            subprocess.run(
                provision, env=self._env, cwd=self.directory, stdout=subprocess.DEVNULL, check=True
            )
            server += ["--credentials", self.directory / "chain" / "server"]
        else:
            server += ["--insecure"]
        self.spawn("server", server, {})
        for number, folder in enumerate(self.work.folders, 1):
            identity: list[str | Path] = [
                "--kit",
                self.directory / "chain" / "kits" / f"{folder.name}.kit",
            ]
            if not self.has_kits:
                identity = [
                    "--insecure",
                    "--server",
                    f"127.0.0.1:{self.wire.port}",
                    "--name",
                    folder.name,
                ]
            self.spawn(
                f"store-{number}", [BIN / "flower-client", "join", "--data", folder, *identity], {}
            )

    def played(self) -> Mapping[int, Played]:
        """Return the rounds of the history."""
        return rounds_of(self.lines.read_text(encoding="utf-8"))

    def _settings(self) -> list[str]:
        work = self.work
        flags = {
            "stores": len(work.folders), "rounds": work.rounds, "model": "niid-cnn",
            "batch-size": work.batch_size, "lr": work.lr, "epochs": 1, "seed": 1,
        }  # fmt: skip
        settings: dict[str, object] = {
            "train.momentum": work.momentum,
            "data.image_size": 32,
            "data.flip": "false",
        }
        if not self.judges_each_round:
            settings["evaluation.every"] = str(work.rounds)
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        return words + [
            word for name, value in settings.items() for word in ("--set", f"{name}={value}")
        ]


class OursInsecure(Ours):
    """Ours over plain HTTP, as in Flower's quickstart."""

    has_kits = False


class OursTraining(Ours):
    """Ours with kits, but stores evaluate the model only after the last round."""

    judges_each_round = False


class Flower(Side):
    """The side of Flower's stock commands and a plain app (`rivals/quickstart`).

    It uses plain HTTP and a database on disk.
    """

    def deploy(self) -> None:
        """Start the SuperLink and the SuperNodes, and submit the app."""
        self.lines = self.directory / "rounds.jsonl"
        home = self.directory / "home-server"
        home.mkdir()
        address = f'address = "127.0.0.1:{self.port}"\ninsecure = true\n'
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n[superlink.here]\n{address}'
        )
        superlink: list[str | Path] = [
            BIN / "flower-superlink",
            *PLAIN_HTTP_FLAGS,
            "--port",
            str(self.port),
        ]
        superlink += ["--database", self.directory / "state.db"]
        self.spawn("server", superlink, {"FLWR_HOME": str(home)})
        self._await_health()
        for number, file in enumerate(self.work.files, 1):
            supernode: list[str | Path] = [
                BIN / "flower-supernode",
                *PLAIN_HTTP_FLAGS,
                "--port",
                str(free_port()),
            ]
            supernode += [
                "--superlink",
                f"127.0.0.1:{self.wire.port}",
                "--node-config",
                f'data="{file}"',
            ]
            self.spawn(
                f"store-{number}", supernode, {"FLWR_HOME": str(self.directory / f"home-{number}")}
            )
        app = shutil.copytree(RIVALS / "quickstart", self.directory / "app")
        settings = {
            "num-server-rounds": self.work.rounds, "stores": len(self.work.files),
            "out": f'"{self.directory}"', "batch-size": self.work.batch_size,
            "learning-rate": self.work.lr, "momentum": self.work.momentum,
        }  # fmt: skip
        words = " ".join(f"{name}={value}" for name, value in settings.items())
        self.spawn(
            "submission", [BIN / "flwr", "run", app, "here", "-c", words], {"FLWR_HOME": str(home)}
        )

    def played(self) -> Mapping[int, Played]:
        """Return the rounds in the app's result, once the app has written it."""
        file = self.directory / "result.json"
        until = time.monotonic() + STARTUP_SECONDS
        while not file.exists() or not file.read_bytes().endswith(b"}}"):
            if time.monotonic() > until:
                raise BenchmarkError(f"Flower's app has not ended well.\n{self.said()}")
            time.sleep(0.1)
        result: dict[str, dict[str, Any]] = json.loads(file.read_text())
        return {
            int(n): Played(seconds, result["accuracy"][n])
            for n, seconds in result["seconds"].items()
        }

    def _await_health(self) -> None:
        until = time.monotonic() + STARTUP_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > until:
                    raise BenchmarkError(
                        f"Flower's SuperLink does not answer.\n{self.said()}"
                    ) from None
                time.sleep(0.2)


def rounds_of(history: str) -> dict[int, Played]:
    """Return the rounds of our history, by number.

    The accuracy is NaN if stores did not evaluate.
    """
    records = [json.loads(line) for line in history.splitlines()]
    slowest = [max(store["seconds"] for store in record["stores"].values()) for record in records]
    return {
        record["round"]: Played(
            seconds,
            (record.get("validation") or {}).get("accuracy", math.nan),
            record["seconds"]["total"],
        )
        for record, seconds in zip(records, slowest, strict=True)
    }


SIDES: Mapping[str, type[Side]] = {
    "ours": Ours,
    "ours (plain HTTP)": OursInsecure,
    "ours (training only)": OursTraining,
    "Flower (plain HTTP)": Flower,
}
