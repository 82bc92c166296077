"""Reads what is new in a file of JSON lines that another process writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TAKEN_BACK = "taken-back.jsonl"  # lines that a run's history had, of rounds whose models could not be used


class JsonlTail:
    """The file at `path`, read once: each look takes what was added since.

    A line still being written is left for the next look; one that is damaged is passed over. A file
    that was replaced (a resumed run mends its history) is noticed by the line that ought to be there.

    take:   is given each new line's JSON object
    forget: is called when the file is another than before, so that what was taken counts no more
    """

    def __init__(self, path: Path, take: Callable[[dict[str, Any]], None], forget: Callable[[], None]) -> None:
        self._path, self._take, self._forget = path, take, forget
        self._read, self._last = 0, b""

    def look(self) -> None:
        """Take what is new. Raises OSError if the file is there and cannot be read."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read - len(self._last))
                if file.read(len(self._last)) != self._last:
                    self._start_again()
                    file.seek(0)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._read += len(line)
                    self._last = line
                    if (found := _parsed(line)) is not None:
                        self._take(found)
        except FileNotFoundError:
            if self._read:
                self._start_again()

    def _start_again(self) -> None:
        self._read, self._last = 0, b""
        self._forget()


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty if it is not there, or not whole."""
    try:
        return _parsed(path.read_bytes()) or {}
    except OSError:
        return {}


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # also of bytes that are not UTF-8
        return None
    return found if isinstance(found, dict) else None
