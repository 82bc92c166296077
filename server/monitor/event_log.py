"""Messages of a run's launcher and app since the launcher started."""

from collections import deque
from pathlib import Path
from typing import Any

from fedshelf.server.monitor.state import EventNote, Underway
from fedshelf.server.results.jsonl_tail import JsonlTail
from fedshelf.server.results.run_status import IN_A_ROUND, RunActivity

MAX_NOTES = 100  # lines of the log that are kept


class RunEvents:
    """A reader of `events.jsonl` (the app's) and `launcher.jsonl` in `<run>/flower/`.

    underway:  the current round, or None
    doing:     activity reported by the round loop, or None
    since:     Unix time (s) at which the activity began
    has_begun: whether the app has written anything
    """

    def __init__(self, directory: Path) -> None:
        self.underway: Underway | None = None
        self.doing: RunActivity | None = None
        self.since: float | None = None
        self.has_begun = False
        self._app = deque[EventNote](maxlen=MAX_NOTES)
        self._launcher = deque[EventNote](maxlen=MAX_NOTES)
        self._files = (
            JsonlTail(directory / "events.jsonl", self._event, self._forget),
            JsonlTail(directory / "launcher.jsonl", self._launcher_note, self._launcher.clear),
        )

    def look(self) -> None:
        """Read new lines. Raises OSError."""
        for file in self._files:
            file.look()

    def notes(self) -> tuple[EventNote, ...]:
        """Return the latest lines of both, oldest first."""
        return tuple(sorted([*self._launcher, *self._app], key=lambda note: note.at)[-MAX_NOTES:])

    def _event(self, event: dict[str, Any]) -> None:
        self.has_begun = True
        match event:
            case {"row": _}:
                self.underway = None
            case {"note": str()}:
                self._app.append(_note(event))
            case {"doing": dict(told)}:
                self._does(RunActivity.from_event(told), event.get("at"))
            case {"training": [int(round), int(done), int(sampled)]}:
                self.underway = Underway(round, done, sampled)

    def _does(self, doing: RunActivity | None, at: object) -> None:
        self.doing = doing
        self.since = float(at) if isinstance(at, int | float) else None
        if doing is None or doing.status not in IN_A_ROUND:
            self.underway = None

    def _launcher_note(self, event: dict[str, Any]) -> None:
        self._launcher.append(_note(event))

    def _forget(self) -> None:
        self._app.clear()
        self.underway = None
        self.has_begun = False
        self.doing = None
        self.since = None


def _note(event: dict[str, Any]) -> EventNote:
    at = event.get("at")
    return EventNote(float(at) if isinstance(at, int | float) else 0.0, str(event.get("note", "")))
