"""Files that are opened, by whatever code: inotify (Linux)."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_IN_OPEN = 0x20
_IN_ACCESS = 0x01


class Openings:
    """Tells whether a watched file was opened since the last question."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def any(self) -> bool:
        try:
            return bool(os.read(self._descriptor, 65536))
        except BlockingIOError:
            return False


@contextmanager
def watched(*paths: Path) -> Iterator[Openings]:
    """Watch files until the context ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        for path in paths:
            watch = libc.inotify_add_watch(descriptor, os.fsencode(path), _IN_OPEN | _IN_ACCESS)
            assert watch >= 0, os.strerror(ctypes.get_errno())
        yield Openings(descriptor)
    finally:
        os.close(descriptor)
