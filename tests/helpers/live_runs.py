"""Run directories as they are while a deployed training goes on, stops or dies."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from fedshelf.common.config import resolve, to_toml
from fedshelf.server.results.run_status import RunActivity, RunStatus
from tests.helpers.sample_run import class_names, history, partition, summary, write_history

BEGAN = 1_700_000_000.0


class LiveRun:
    """Writes what launcher and app of a run of `rounds` rounds write."""

    def __init__(self, path: Path, *, stores: list[str], rounds: int = 20, quorum: int = 2) -> None:
        self.path = path
        self.names = stores
        self.rounds = rounds
        self.flower = path / "flower"
        self.flower.mkdir(parents=True)
        config = resolve({"run.rounds": rounds, "cohort.min_stores": quorum, "train.epochs": 2})
        (path / "config.toml").write_text(to_toml(config))
        (self.flower / "began.json").write_text(str(BEGAN))
        self.records = history(stores, rounds) if stores else []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While a launcher holds the run."""
        with FileLock(self.flower / "launcher.lock"):
            yield

    def say(self, **event: Any) -> None:
        """One event of the app."""
        with (self.flower / "events.jsonl").open("a") as file:
            file.write(json.dumps({"at": BEGAN + 60, **event}) + "\n")

    def joined(self) -> None:
        """The stores have joined."""
        self.does(RunActivity(RunStatus.WAITING, 1, tuple(self.names[:1]), 2, BEGAN + 600))
        self.say(
            note=f"Waiting for stores: {len(self.names)} of 2 joined ({', '.join(self.names)})."
        )
        table = partition(self.names, class_names(10))
        (self.path / "partition.json").write_text(json.dumps(table))

    def play(self, first: int, last: int) -> None:
        """Rounds `first` to `last` are done."""
        with (self.path / "history.jsonl").open("a") as file:
            for record in self.records[first - 1 : last]:
                self.does(
                    RunActivity(RunStatus.TRAINING, record["round"], tuple(record["sampled"]))
                )
                self.say(training=[record["round"], 0, len(record["sampled"])])
                file.write(json.dumps(record) + "\n")
                self.say(row=record)
        if last < self.rounds:
            self.does(RunActivity(RunStatus.TRAINING, last + 1, tuple(self.names)))

    def does(self, doing: RunActivity) -> None:
        """The round loop says what it does."""
        self.say(doing=doing.to_event())

    def rewrite(self, last: int) -> None:
        """A resumed run has mended its history, which ends with round `last` now."""
        write_history(self.path, self.records[:last])

    def tell(self, **stores: dict[str, Any]) -> None:
        """Write the app's words on its stores."""
        told = {
            name: {"state": "ready", "since": BEGAN, "why": "", "images": 500, "round": 3}
            for name in self.names
        }
        for name, changes in stores.items():
            told[name] |= changes
        (self.flower / "stores.json").write_text(json.dumps(told))

    def end(self, status: str = "finished", reason: str | None = None) -> None:
        """The run has this outcome."""
        found = summary(self.records, self.names, class_names(10)) | {
            "status": status,
            "reason": reason,
        }
        (self.path / "summary.json").write_text(json.dumps(found))
        outcome = {"summary": found, "error": "", "exit_code": 0}
        (self.flower / "outcome.json").write_text(json.dumps(outcome))

    def fail(self, error: str) -> None:
        """The app gave up."""
        outcome = {"summary": None, "error": error, "exit_code": 5}
        (self.flower / "outcome.json").write_text(json.dumps(outcome))
