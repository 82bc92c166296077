"""What the server's app has to say, passed to the launcher that a person watches, through a file.

The app runs in a process of Flower's, whose output Flower keeps; so it appends one JSON line per
event, and the launcher plays them to its own watcher.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedshelf.server.results.jsonl_tail import JsonlTail
from fedshelf.server.results.run_status import RunActivity

if TYPE_CHECKING:  # they load torch, which the launcher does well without
    from fedshelf.server.results.observer import RunObserver
    from fedshelf.server.results.run_directory import Record


class EventWriter:
    """A watcher that writes what it is told to `path`, after what is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")  # ends the line within which an earlier writer may have been killed

    def row(self, record: "Record") -> None:
        """A round is done."""
        self._write(row=record)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self._write(note=text)

    def doing(self, doing: RunActivity) -> None:
        """The run does something else from now on."""
        self._write(doing=doing.in_event())

    def training(self, round: int, done: int, sampled: int) -> None:
        """Within a round: `done` of `sampled` stores have answered."""
        self._write(training=[round, done, sampled])

    def _write(self, **event: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": time.time(), **event}, ensure_ascii=False) + "\n")


class EventReader:
    """Plays what was written to `path` since the last look; a line still being written is left for the next."""

    def __init__(self, path: Path, watcher: "RunObserver") -> None:
        self._watcher, self._tail = watcher, JsonlTail(path, self._tell, lambda: None)

    def play(self) -> None:
        """Tell the watcher all that is new. Nothing happens while there is no file."""
        self._tail.look()

    def _tell(self, event: dict[str, Any]) -> None:
        match event:
            case {"row": record}:
                self._watcher.row(record)
            case {"note": text}:
                self._watcher.note(text)
            case {"doing": dict(told)} if doing := RunActivity.of_event(told):
                self._watcher.doing(doing)
            case {"training": [round, done, sampled]}:
                self._watcher.training(round, done, sampled)
