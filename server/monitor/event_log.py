"""Messages of a run's launcher and app since the launcher started."""

from collections import deque
from pathlib import Path
from typing import Any

from fedshelf.server.monitor.state import EventNote, Underway
from fedshelf.server.results.jsonl_tail import JsonlTail
from fedshelf.server.results.run_status import IN_A_ROUND, RunActivity

MAX_NOTES = 100  # lines of the log that are kept


class RunEvents:
    """A reader of the app's `events.jsonl` and the launcher's `launcher.jsonl`.

    Args:
        directory: folder `flower/` of the run directory

    Attributes:
        underway:  the current round, or None
        doing:     activity reported by the round loop, or None
        since:     Unix time (s) at which the activity began
        has_begun: True if the app has written anything
    """

    def __init__(self, directory: Path) -> None:
        self.underway: Underway | None = None
        self.doing: RunActivity | None = None
        self.since: float | None = None
        self.has_begun = False
        self._app_notes = deque[EventNote](maxlen=MAX_NOTES)
        self._launcher_notes = deque[EventNote](maxlen=MAX_NOTES)
        self._files = (
            JsonlTail(directory / "events.jsonl", self._read_app_event, self._forget_app_events),
            JsonlTail(
                directory / "launcher.jsonl", self._read_launcher_event, self._launcher_notes.clear
            ),
        )

    def read(self) -> None:
        """Read new lines.

        Raises:
            OSError: a file cannot be read.
        """
        for file in self._files:
            file.look()

    def notes(self) -> tuple[EventNote, ...]:
        """Return the latest lines of both files, oldest first."""
        return tuple(
            sorted([*self._launcher_notes, *self._app_notes], key=lambda note: note.at)[-MAX_NOTES:]
        )

    def _read_app_event(self, event: dict[str, Any]) -> None:
        self.has_begun = True
        match event:
            case {"row": _}:
                self.underway = None
            case {"note": str()}:
                self._app_notes.append(_note(event))
            case {"doing": dict(activity)}:
                self._begin_activity(RunActivity.from_event(activity), event.get("at"))
            case {"training": [int(round_number), int(done), int(sampled)]}:
                self.underway = Underway(round_number, done, sampled)

    def _begin_activity(self, activity: RunActivity | None, at: object) -> None:
        self.doing = activity
        self.since = float(at) if isinstance(at, int | float) else None
        if activity is None or activity.status not in IN_A_ROUND:
            self.underway = None

    def _read_launcher_event(self, event: dict[str, Any]) -> None:
        self._launcher_notes.append(_note(event))

    def _forget_app_events(self) -> None:
        self._app_notes.clear()
        self.underway = None
        self.has_begun = False
        self.doing = None
        self.since = None


def _note(event: dict[str, Any]) -> EventNote:
    at = event.get("at")
    return EventNote(float(at) if isinstance(at, int | float) else 0.0, str(event.get("note", "")))
