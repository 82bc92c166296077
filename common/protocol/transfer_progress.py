"""Progress lines for a message that takes long to send or receive; a quick one gets none."""

import threading
import time
from collections.abc import Callable

from fedshelf.common.wording import format_duration

LINE_INTERVAL_SECONDS = 10.0  # seconds until the first line, and between two lines


class TransferProgress:
    """One message under way. Its pieces may be counted by several threads.

    what:  the beginning of each line: "Sending the answer"
    total: bytes of the whole message; 0: unknown, as the server does not tell
    tell:  a function that shows a line
    now:   a clock in seconds, with any origin
    """

    def __init__(
        self,
        what: str,
        total: int,
        tell: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._total = total
        self._tell = tell
        self._now = now
        self._began = self._told = now()
        self._done = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count a piece of `size` bytes that has arrived."""
        with self._lock:
            self._done += size
            now = self._now()
            done = self._done
            if now - self._told < LINE_INTERVAL_SECONDS or done == self._total:
                return
            self._told = now
        self._tell(f"{self._what}: {format_progress(done, self._total, now - self._began)}.")


def format_progress(done: int, total: int, seconds: float) -> str:
    """Return how far a transfer is after so many seconds: "21 of 45 MB, 1.05 MB/s, 23 s left".

    done, total: bytes; total is 0 if unknown
    """
    rate = done / seconds if seconds > 0 else 0.0
    parts = [
        f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB",
        f"{rate / 1e6:.3g} MB/s",
    ]
    if rate and total > done:
        parts.append(f"{format_duration((total - done) / rate)} left")
    return ", ".join(parts)
