"""The runs of a sweep as processes of their own, side by side."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from fedshelf.common.errors import FedshelfError, StoppedError
from fedshelf.common.text import printable
from fedshelf.server.launcher import die_with_parent
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.run_directory import RunDirectory

PROGRAM = "from fedshelf.simulations.main import main; main()"


@dataclass(frozen=True)
class SweptRun:
    """One run of a sweep.

    Attributes:
        point: index of its point
        seed: its seed
        rounds: rounds that it shall have done; None: as its settings say
        settings: setting -> text
        directory: its run directory
    """

    point: int
    seed: int
    rounds: int | None
    settings: dict[str, str]
    directory: Path

    def is_done(self) -> bool:
        """Return whether the run has finished all rounds that it shall, or ended early by itself.

        It ends early after `evaluation.patience` evaluations without improvement.
        """
        summary = read_json(self.directory / "summary.json")
        if summary.get("status") != "finished":
            return False
        planned = RunDirectory.read_config(self.directory).run.rounds
        is_early = summary["rounds"] < planned
        return is_early or self.rounds is None or summary["rounds"] >= self.rounds

    def arguments(self, device: str) -> list[str]:
        """Return the arguments of `flower-simulation run` that begin the run, or go on with it."""
        settings = {"run.out": str(self.directory), "run.device": device}
        if self.rounds is not None:
            settings["run.rounds"] = str(self.rounds)
        if RunDirectory.is_run(self.directory):
            return ["--resume", *_assignments(settings)]
        return _assignments({**self.settings, "run.seed": str(self.seed), **settings})

    @property
    def log(self) -> Path:
        """The file of the run's output."""
        return self.directory.with_suffix(".log")


class Processes:
    """Runs processes, a few at a time, and stops them together.

    Args:
        devices: for each process that may run at a time, the device that it uses
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._jobs = len(devices)
        self._free: SimpleQueue[str] = SimpleQueue()
        for device in devices:
            self._free.put(device)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_stopping = False

    def carry_out(self, runs: Sequence[SweptRun], done: Callable[[SweptRun, str], None]) -> None:
        """Carry out all runs that are not done.

        Args:
            runs: the runs, in the order in which they begin
            done: called for each run that has ended, with the sentence of its error; empty: none

        Raises:
            StoppedError: the person asked for an end; runs that had begun go on when resumed.
        """
        with ThreadPoolExecutor(self._jobs) as pool:
            futures = {pool.submit(self._carry_out, run): run for run in runs}
            try:
                self._collect(futures, done)
            except FedshelfError:
                self._stop(futures)
                raise
            except KeyboardInterrupt:
                self._stop(futures)
                raise StoppedError(
                    "Stopped; runs are saved up to their last round. Go on with --resume."
                ) from None

    def _collect(
        self, futures: dict[Future[str], SweptRun], done: Callable[[SweptRun, str], None]
    ) -> None:
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                done(futures[future], future.result())

    def _stop(self, futures: dict[Future[str], SweptRun]) -> None:
        """Ask all runs to end after their round; once more: at once."""
        with self._lock:
            self._is_stopping = True
        for future in futures:
            future.cancel()
        while True:
            with self._lock:
                for process in self._running:
                    process.send_signal(signal.SIGINT)
            try:
                wait(futures)
                return
            except KeyboardInterrupt:
                continue

    def _carry_out(self, run: SweptRun) -> str:
        """Carry out a run, and return the sentence of its error; empty: there was none."""
        if run.is_done():
            return ""
        if run.directory.exists() and not RunDirectory.is_run(run.directory):
            shutil.rmtree(run.directory)  # killed before it had begun
        run.directory.parent.mkdir(parents=True, exist_ok=True)
        device = self._free.get()
        try:
            code = self._wait_for(run, device)
        finally:
            self._free.put(device)
        if code == StoppedError.exit_code:
            return "It was stopped; go on with --resume."
        return "" if code == 0 else _last_line(run.log)

    def _wait_for(self, run: SweptRun, device: str) -> int:
        """Start the process of a run, wait for its end, and return its exit code."""
        guard = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        command = [*guard, sys.executable, "-P", "-c", PROGRAM, "run", *run.arguments(device)]
        with run.log.open("ab") as log:
            with self._lock:
                if self._is_stopping:
                    return StoppedError.exit_code
                # a session of its own: Ctrl-C reaches it by this process alone, and once
                process = subprocess.Popen(
                    command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
                self._running.add(process)
            process.wait()
            with self._lock:
                self._running.discard(process)
        return process.returncode


def _assignments(settings: Mapping[str, str]) -> list[str]:
    """Return the command-line arguments that give these settings."""
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def _last_line(log: Path) -> str:
    """Return the last line that a run printed, which is the sentence of its error."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "It printed nothing.")
    return printable(last.removeprefix("Error: "))
