"""Writer of the audit log: a line is on disk before the event that it records goes on."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from filelock import FileLock, Timeout

from fedshelf.client.audit.entry import AuditNote, decode, encode
from fedshelf.client.audit.files import (
    EMPTY_LOG_HEAD,
    LogHead,
    full_files,
    full_name,
    lines,
    read_head,
    write_head,
)
from fedshelf.client.audit.seal import fingerprint, is_genuine, public_text, seal
from fedshelf.common.errors import RunError
from fedshelf.common.system.files import sync_directory

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

MAX_FILE_BYTES = 16 * 2**20  # bytes of a file, about 40 thousand lines
# seconds to wait for the lock: `flower-client status` takes it for an instant to see whether it is
# free
LOCK_TIMEOUT_SECONDS = 1.0


class AuditLog:
    """The log at `path`, for one process at a time; a context manager.

    Opening repairs the half line that a killed process left behind, and notes it. If lines are
    missing or were changed, the log continues from the line that `audit.head` names, so that the
    gap stays visible.

    Raises RunError if another process has the log, OSError.

    Args:
        now: Current Unix time (s).
        key: The store's key, which signs `audit.head`; None: it has none.
    """

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time.time,
        max_file_bytes: int = MAX_FILE_BYTES,
        key: "EllipticCurvePrivateKey | None" = None,
    ) -> None:
        self._path = path
        self._now = now
        self._max_file_bytes = max_file_bytes
        self._key = key
        self._first = 1
        self._rotations = 0
        self._thread_lock = threading.Lock()
        self._head = EMPTY_LOG_HEAD
        self._size = 0
        self._process_lock = FileLock(
            path.with_name(f".{path.name}.lock"), timeout=LOCK_TIMEOUT_SECONDS
        )
        try:
            self._process_lock.acquire()
        except Timeout:
            raise RunError(
                f"Another process writes {path}; only one flower-client at a time can be this"
                " store. End the other one."
            ) from None
        try:
            self._open()
        except BaseException:
            self._process_lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the log for another process."""
        self._file.close()
        self._process_lock.release()

    def record(self, note: AuditNote) -> None:
        """Append a line; it is on disk when this returns. Any thread may call it.

        Raises OSError (disk full): then the event must not go on, whether or not its line is
        there.
        """
        with self._thread_lock:
            line, line_hash = encode(note, self._head.number + 1, self._now(), self._head.hash)
            head = LogHead(self._head.number + 1, line_hash)
            try:
                if self._size >= self._max_file_bytes:
                    self._begin_file()
                if self._file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
                os.fsync(self._file.fileno())
                write_head(self._path, self._seal(head))
                self._head = head
                self._size += len(line)
            except BaseException:  # Ctrl-C too
                self._cut_half_line()
                self._head = next(self._backwards(), self._head)
                raise

    def _open(self) -> None:
        if not self._path.exists() and not full_files(self._path) and read_head(self._path) is None:
            write_head(self._path, self._seal(EMPTY_LOG_HEAD))
        self._file = self._open_file()
        cut_bytes = self._cut_half_line()
        last = next(self._backwards(), EMPTY_LOG_HEAD)
        written = read_head(self._path)
        self._head = last
        self._first = (written and written.first) or self._first_number_present()
        self._rotations = max(written.rotations if written else 0, len(full_files(self._path)))
        self._check_written(written, last)
        if cut_bytes:
            self.record(
                AuditNote(
                    "mended",
                    size=cut_bytes,
                    why="half a line, which a killed process left behind, was cut off",
                )
            )

    def _check_written(self, written: LogHead | None, last: LogHead) -> None:
        """Note any contradiction between `audit.head` and the log, of which `last` is the last
        line.
        """
        if written is None:
            self.record(
                AuditNote(
                    "broken",
                    why="audit.head is missing or damaged, so lines may be missing before this one",
                )
            )
        elif written != EMPTY_LOG_HEAD and written != self._head_at(written.number):
            # `written` if they have the same number
            self._head = max(written, last, key=lambda head: head.number)
            self.record(
                AuditNote(
                    "broken",
                    why=f"number {written.number}, which had been written, is missing or changed",
                )
            )
        elif written.signature and not is_genuine(written):
            self.record(
                AuditNote(
                    "broken",
                    why=(
                        "audit.head is not as it was signed, so lines may be missing before"
                        " this one"
                    ),
                )
            )
        elif written.signer != (signer := public_text(self._key) if self._key else ""):
            before = (
                f"signed by the key {fingerprint(written.signer)}"
                if written.signer
                else "not signed"
            )
            after = f"signed by the key {fingerprint(signer)}" if signer else "not signed"
            self.record(
                AuditNote(
                    "mended",
                    why=f"audit.head was {before} before this line, and is {after} from here on",
                )
            )

    def _seal(self, head: LogHead) -> LogHead:
        return seal(replace(head, first=self._first, rotations=self._rotations), self._key)

    def _first_number_present(self) -> int:
        """Return the number of the first line present, for a log whose head does not name its first
        line.
        """
        for _, _, line in lines(self._path):
            with suppress(ValueError):
                return decode(line).number
        return 1

    def _open_file(self) -> FileIO:
        """Open the current file for appending, for this user only."""
        file = FileIO(self._path, "ab", opener=lambda name, flags: os.open(name, flags, 0o600))
        os.fchmod(file.fileno(), 0o600)
        sync_directory(self._path.parent)
        return file

    def _begin_file(self) -> None:
        """Set the full file aside and continue in a new one."""
        max_file_bytes = full_name(self._path, self._head.number)
        self._path.rename(max_file_bytes)
        try:
            file = self._open_file()
        except OSError:
            max_file_bytes.rename(self._path)
            raise
        self._file.close()
        self._file = file
        self._size = 0
        self._rotations += 1

    def _cut_half_line(self) -> int:
        """Cut off a last line without a newline, and find the end of the file; return the number of
        bytes cut.
        """
        content = self._path.read_bytes()
        self._size = size = content.rfind(b"\n") + 1
        if size < len(content):
            self._file.truncate(size)
            os.fsync(self._file.fileno())
        return len(content) - size

    def _head_at(self, number: int) -> LogHead | None:
        """Return the line with this number, or the last intact one before it; None if there is
        none.
        """
        return next((head for head in self._backwards() if head.number <= number), None)

    def _backwards(self) -> Iterator[LogHead]:
        """Yield the intact lines, the last one first."""
        for file in (self._path, *reversed(full_files(self._path))):
            for line in reversed(file.read_bytes().splitlines()):
                with suppress(ValueError):
                    entry = decode(line)
                    yield LogHead(entry.number, entry.hash)
