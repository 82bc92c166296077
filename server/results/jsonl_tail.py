"""Reader for the new lines of a JSON lines file that another process writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

# former lines of a run's history, of rounds whose models could not be used
TAKEN_BACK = "taken-back.jsonl"


class JsonlTail:
    """The file at `path`, read once: each call of `look` takes the lines added since the last one.

    A line that is still being written is left for the next call; a damaged one is skipped. If the
    file was replaced (a resumed run mends its history), the last line read is no longer at its
    place, which shows it.

    Args:
        take: called with each new line's JSON object
        forget: called when the file was replaced, so that everything taken before is void
    """

    def __init__(
        self, path: Path, take: Callable[[dict[str, Any]], None], forget: Callable[[], None]
    ) -> None:
        self._path = path
        self._take = take
        self._forget = forget
        self._read = 0
        self._last = b""

    def look(self) -> None:
        """Take the new lines. Raises OSError if the file is there and cannot be read."""
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
        self._read = 0
        self._last = b""
        self._forget()


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a small JSON file; {} if it is missing or incomplete."""
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
