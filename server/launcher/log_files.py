"""Log files that may be rotated while they are written to."""

import contextlib
import os
from io import BufferedReader
from pathlib import Path

READ_BYTES = 64 * 1024  # bytes read from a process at a time


class LogFile:
    """The file at `path`, for this user only, to which output is appended.

    It may be moved away (a new one is begun), or copied and truncated, at any time. Nothing is lost
    but output that is written between the copy and the truncation.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()

    def write(self, output: bytes) -> None:
        """Append output.

        Raises:
            OSError: as on a full disk; then part of the output may be missing.
        """
        if not self._is_current():
            self.close()
            self._descriptor = self._open()
        while output:
            output = output[os.write(self._descriptor, output) :]

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _is_current(self) -> bool:
        """Return whether a file is open, and is the one that the path names now."""
        if self._descriptor < 0:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False


def copy_output(pipe: BufferedReader, log: LogFile) -> None:
    """Append the output of a process to its log, until the output ends.

    Output that a full disk does not take is dropped.

    Args:
        pipe: output of the process
        log:  the log file
    """
    with pipe, contextlib.closing(log):
        while output := pipe.read1(READ_BYTES):
            with contextlib.suppress(OSError):  # a full disk must not block the writer
                log.write(output)
