"""Events of the server's app for the launcher that a person watches, through a file.

The app runs in a process of Flower's, whose output Flower keeps; so it appends one JSON line per
event, and the launcher replays the lines to its own observer.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedshelf.server.results.jsonl_tail import JsonlTail
from fedshelf.server.results.run_status import RunActivity

if TYPE_CHECKING:  # these load torch, which the launcher does not need
    from fedshelf.server.results.run_directory import Record
    from fedshelf.server.results.run_status import RunObserver


class EventWriter:
    """A run observer that appends its events to the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            with path.open("a", encoding="utf-8") as file:
                # ends the line within which an earlier writer may have been killed
                file.write("\n")

    def row(self, record: "Record") -> None:
        """Write the history line of a round that is done."""
        self._write(row=record)

    def note(self, text: str) -> None:
        """Write a message worth a line."""
        self._write(note=text)

    def doing(self, doing: RunActivity) -> None:
        """Write the activity that the run has begun."""
        self._write(doing=doing.to_event())

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Write the progress of a round: `done` of `sampled` stores have answered."""
        self._write(training=[round_number, done, sampled])

    def _write(self, **event: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": time.time(), **event}, ensure_ascii=False) + "\n")


class EventReader:
    """Replays the events written to `path` since the last call.

    A line still being written is left for the next.
    """

    def __init__(self, path: Path, observer: "RunObserver") -> None:
        self._observer = observer
        self._tail = JsonlTail(path, self._tell, lambda: None)

    def play(self) -> None:
        """Replay all new events to the observer. Do nothing while there is no file."""
        self._tail.look()

    def _tell(self, event: dict[str, Any]) -> None:
        match event:
            case {"row": record}:
                self._observer.row(record)
            case {"note": text}:
                self._observer.note(text)
            case {"doing": dict(activity)} if doing := RunActivity.from_event(activity):
                self._observer.doing(doing)
            case {"training": [round_number, done, sampled]}:
                self._observer.training(round_number, done, sampled)
