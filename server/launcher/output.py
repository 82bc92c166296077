"""The launcher's output about a run: on the console for a person or a program, and in a file."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedshelf.server.ipc.events import EventWriter
from fedshelf.server.report import console
from fedshelf.server.report.json_log import JsonLog
from fedshelf.server.results.run_status import RunActivity


class RunOutput:
    """An observer of a run; a context manager.

    Args:
        rounds:       planned rounds
        message_file: keeps the launcher's own messages, made anew; the app keeps its own
        as_json:      True for JSON lines for programs instead of a table for people
    """

    def __init__(self, rounds: int, message_file: Path, *, as_json: bool) -> None:
        self._json_log = JsonLog(rounds) if as_json else None
        self._display = self._json_log or console.RoundTable(rounds)
        message_file.unlink(missing_ok=True)
        self._message_writer = EventWriter(message_file)

    def __enter__(self) -> Self:
        self._display.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.__exit__(kind, error, traceback)

    def row(self, record: Mapping[str, Any]) -> None:
        """Show a completed round, given as its history record."""
        self._display.row(record)

    def note(self, text: str) -> None:
        """Show a message of the app."""
        self._display.note(text)

    def say(self, text: str) -> None:
        """Show a message of the launcher, and keep it in the file."""
        self._display.note(text)
        self._message_writer.note(text)

    def doing(self, activity: RunActivity) -> None:
        """Show that the run's activity changes."""
        self._display.doing(activity)

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Show that `done` of the round's `sampled` stores have answered."""
        self._display.training(round_number, done, sampled)

    def closing(self, summary: Mapping[str, Any], out: Path) -> None:
        """Show the outcome, and where its files are."""
        (self._json_log.closing if self._json_log else console.print_outcome)(summary, out)
