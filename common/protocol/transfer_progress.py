"""Progress lines for a message that takes long to send or receive; a quick one gets none."""

import threading
import time
from collections.abc import Callable

from fedshelf.common.wording import format_duration

LINE_INTERVAL_SECONDS = 10.0  # seconds until the first line, and between two lines


class TransferProgress:
    """One message under way. Its pieces may be counted by several threads.

    Args:
        label: the beginning of each line, for example "Sending the answer"
        total_bytes: size of the whole message; 0: unknown, as the server does not tell
        print_line: shows a line to a person
        clock: seconds since any origin
    """

    def __init__(
        self,
        label: str,
        total_bytes: int,
        print_line: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label = label
        self._total_bytes = total_bytes
        self._print_line = print_line
        self._clock = clock
        self._started_at = clock()
        self._last_line_at = self._started_at
        self._done_bytes = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count a piece of `size` bytes that has arrived."""
        with self._lock:
            self._done_bytes += size
            done = self._done_bytes
            now = self._clock()
            is_early = now - self._last_line_at < LINE_INTERVAL_SECONDS
            if is_early or done == self._total_bytes:
                return
            self._last_line_at = now
        # outside the lock: a slow terminal must not hold up the other threads
        progress = format_progress(done, self._total_bytes, now - self._started_at)
        self._print_line(f"{self._label}: {progress}.")


def format_progress(done: int, total: int, seconds: float) -> str:
    """Return how far a transfer is: "21 of 45 MB, 1.05 MB/s, 23 s left".

    Args:
        done: bytes that have arrived
        total: bytes of the whole message; 0: unknown
        seconds: time since the transfer began
    """
    rate = done / seconds if seconds > 0 else 0.0
    parts = [
        f"{done / 1e6:.0f} of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB",
        f"{rate / 1e6:.3g} MB/s",
    ]
    if rate and total > done:
        parts.append(f"{format_duration((total - done) / rate)} left")
    return ", ".join(parts)
