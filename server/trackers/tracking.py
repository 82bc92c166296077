"""The trackers of one training: begun with it, told of each round, and never in its way."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from fedshelf.common.config import RunConfig, flatten
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE
from fedshelf.common.system.files import write_json
from fedshelf.common.text import printable
from fedshelf.server.results.run_directory import RUNS_OWN_SETTINGS, RunDirectory
from fedshelf.server.stop_request import PauseRequest
from fedshelf.server.trackers import TRACKERS
from fedshelf.server.trackers.tracker import ExperimentTracker, TrackedRun, curves, outcome

STATE_FILE = "trackers.json"  # name -> the tracker's id of the run, and the last round logged
ARTEFACTS = ("report.html", "summary.json", "config.toml", WEIGHTS_FILE, DESCRIPTION_FILE)
MAX_SECONDS = 30.0  # for rounds that are logged at once; a slower tracker is given up
MAX_REASON_CHARACTERS = 200

_CREDENTIALS = re.compile(r"//[^/@\s]+@")


class Tracking:
    """The trackers that a run names in `run.track`.

    A tracker that fails, or is slow, is told to the person once and left out from then on: the run
    goes on without it. A resumed run logs the rounds that are missing.

    A round is logged once its checkpoint is there, so a resume repeats none of them.

    Args:
        directory: of the run
        config: of the run
        note: tells the person a sentence
    """

    def __init__(
        self, directory: RunDirectory, config: RunConfig, note: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._config = config
        self._note = note
        self._trackers: dict[str, ExperimentTracker] = {}
        self._logged: dict[str, int] = {}
        self._waiting: list[Mapping[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        failed = kind and issubclass(kind, Exception) and not issubclass(kind, PauseRequest)
        self.close("failed" if failed else "stopped")

    def begin(self, recorded: Sequence[Mapping[str, Any]]) -> None:
        """Begin the run in each tracker, or go on with it.

        Args:
            recorded: the rounds of the history
        """
        for name in self._config.run.track:
            state = self._state().get(name, {})
            self._logged[name] = state.get("round", 0)
            missing = [record for record in recorded if record["round"] > self._logged[name]]
            start = partial(self._start, name, state.get("id"))
            self._do(name, start, self._missing(name))
            self._send(name, missing)

    def add(self, record: Mapping[str, Any], committed: int) -> None:
        """Log a round, and those before it that waited for their checkpoint.

        Args:
            committed: the last round that has a checkpoint
        """
        if not self._trackers:
            return
        # rounds that were taken back
        self._waiting = [earlier for earlier in self._waiting if earlier["round"] < record["round"]]
        self._waiting.append(record)
        self.commit(committed)

    def commit(self, committed: int) -> None:
        """Log the rounds that have a checkpoint now.

        Args:
            committed: the last round that has a checkpoint
        """
        ready = [record for record in self._waiting if record["round"] <= committed]
        if not ready:
            return
        self._waiting = [record for record in self._waiting if record["round"] > committed]
        for name in tuple(self._trackers):
            self._send(name, ready)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Give the trackers the report, the model and its figures, and end the run there."""
        paths = [self._directory.path / name for name in ARTEFACTS]
        files = [path for path in paths if path.exists()]
        figures = outcome(summary)
        for name, tracker in tuple(self._trackers.items()):
            self._do(name, partial(tracker.keep, files, figures), "report or model is not there")
        self.close(summary["status"])

    def close(self, status: str) -> None:
        """End the run in the trackers in which it has not ended yet.

        Args:
            status: `finished`, `stopped` or `failed`
        """
        for name, tracker in tuple(self._trackers.items()):
            self._do(name, partial(tracker.end, status), f"it does not show the run as {status}")
        self._trackers.clear()

    def _start(self, name: str, tracker_id: str | None) -> None:
        path = self._directory.path
        flat = flatten(self._config)
        settings = {key: value for key, value in flat.items() if key not in RUNS_OWN_SETTINGS}
        run = TrackedRun(path.name, self._directory.run_id(), tracker_id, settings, path)
        tracker = TRACKERS[name].begin(run)
        self._trackers[name] = tracker
        self._keep_state(name)
        self._note(f"{tracker.title} logs to {_without_password(tracker.place)}.")

    def _send(self, name: str, records: Sequence[Mapping[str, Any]]) -> None:
        """Log rounds in one tracker, and remember that they are there."""
        began = time.monotonic()
        for record in records:
            if name not in self._trackers:
                return
            self._do(name, partial(self._log, name, record), self._missing(name))
            if time.monotonic() - began > MAX_SECONDS and name in self._trackers:
                reason = f"rounds took more than {MAX_SECONDS:g} s there"
                self._give_up(name, reason, self._missing(name))

    def _missing(self, name: str) -> str:
        return f"rounds from {self._logged[name] + 1} on, report and model are not logged there"

    def _log(self, name: str, record: Mapping[str, Any]) -> None:
        self._trackers[name].log(record["round"], curves(record))
        self._logged[name] = record["round"]
        self._keep_state(name)

    def _do(self, name: str, task: Callable[[], None], loss: str) -> None:
        """Do a task of a tracker; if it fails, say so and what is lost, and leave the tracker out.

        Args:
            loss: a main clause
        """
        try:
            task()
        except Exception as error:  # whatever a library, a network or a server can raise
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self._give_up(name, reason, loss)

    def _give_up(self, name: str, reason: str, loss: str) -> None:
        self._trackers.pop(name, None)
        shown = _without_password(reason)[:MAX_REASON_CHARACTERS]
        self._note(f"{TRACKERS[name].title} failed ({shown}): {loss}; the run goes on.")

    def _state(self) -> dict[str, Any]:
        path = self._directory.path / STATE_FILE
        found: dict[str, Any] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )
        return found

    def _keep_state(self, name: str) -> None:
        tracked = {"id": self._trackers[name].tracker_id, "round": self._logged[name]}
        write_json(self._directory.path / STATE_FILE, self._state() | {name: tracked})


def _without_password(text: str) -> str:
    """Return a text for people, without the name and password that an address may have."""
    return printable(_CREDENTIALS.sub("//", text))
