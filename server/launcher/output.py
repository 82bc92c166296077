"""What the launcher shows of a run, to a person or to a program, and keeps for those who look later."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedshelf.server.ipc.events import EventWriter
from fedshelf.server.report import console
from fedshelf.server.report.json_log import JsonLog
from fedshelf.server.results.run_status import RunActivity


class RunOutput:
    """A watcher of a run of `rounds` rounds; a context manager.

    as_json: JSON lines for programs instead of a table for people
    kept:    the file that keeps the launcher's own words, made anew; the app's are kept by the app
    """

    def __init__(self, rounds: int, kept: Path, *, as_json: bool) -> None:
        self._log = JsonLog(rounds) if as_json else None
        self._screen = self._log or console.RoundTable(rounds)
        kept.unlink(missing_ok=True)
        self._kept = EventWriter(kept)

    def __enter__(self) -> Self:
        self._screen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._screen.__exit__(kind, error, traceback)

    def row(self, record: Mapping[str, Any]) -> None:
        """A round is done."""
        self._screen.row(record)

    def note(self, text: str) -> None:
        """Something that the app says."""
        self._screen.note(text)

    def say(self, text: str) -> None:
        """Something that the launcher says."""
        self._screen.note(text)
        self._kept.note(text)

    def doing(self, doing: RunActivity) -> None:
        """The run does something else from now on."""
        self._screen.doing(doing)

    def training(self, round: int, done: int, sampled: int) -> None:
        """Within a round: `done` of `sampled` stores have answered."""
        self._screen.training(round, done, sampled)

    def closing(self, summary: Mapping[str, Any], out: Path) -> None:
        """The outcome, and where it lies."""
        (self._log.closing if self._log else console.closing)(summary, out)
