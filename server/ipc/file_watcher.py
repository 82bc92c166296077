"""Watcher for a file that other processes replace now and then."""

from pathlib import Path


class WatchedFile:
    """Tells whether the file at `path` has changed since the last check.

    The file is only ever replaced as a whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _mark(path)

    def has_changed(self) -> bool:
        """Return whether the file was replaced, appeared or vanished since the last call."""
        before = self._seen
        self._seen = _mark(self._path)
        return self._seen != before


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
