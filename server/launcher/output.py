"""The launcher's output about a run, for a person or a program, and the record for later
readers.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedshelf.server.ipc.events import EventWriter
from fedshelf.server.report import console
from fedshelf.server.report.json_log import JsonLog
from fedshelf.server.results.run_status import RunActivity


class RunOutput:
    """An observer of a run of `rounds` rounds; a context manager.

    as_json: JSON lines for programs instead of a table for people
    kept:    the file that keeps the launcher's own messages, made anew; the app keeps its own
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
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._screen.__exit__(kind, error, traceback)

    def row(self, record: Mapping[str, Any]) -> None:
        """Show a completed round."""
        self._screen.row(record)

    def note(self, text: str) -> None:
        """Show a message of the app."""
        self._screen.note(text)

    def say(self, text: str) -> None:
        """Show and keep a message of the launcher."""
        self._screen.note(text)
        self._kept.note(text)

    def doing(self, doing: RunActivity) -> None:
        """Show that the run's activity changes."""
        self._screen.doing(doing)

    def training(self, round: int, done: int, sampled: int) -> None:
        """Show that `done` of the round's `sampled` stores have answered."""
        self._screen.training(round, done, sampled)

    def closing(self, summary: Mapping[str, Any], out: Path) -> None:
        """Show the outcome, and where its files are."""
        (self._log.closing if self._log else console.closing)(summary, out)
