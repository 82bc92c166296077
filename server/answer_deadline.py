"""The time in which answers must come: as configured, and little more once the run is to stop."""

import time
from collections.abc import Callable

# seconds that training may take from the request to stop; a round that takes longer is played again
# later
ROUND_STOP_SECONDS = 60.0
# seconds that an evaluation may take; with two of them, systemd's three minutes are enough
EVALUATION_STOP_SECONDS = 30.0


class AnswerDeadline:
    """A wait that begins now.

    Args:
        seconds:            longest wait
        stop:               returns True once the run is asked to stop
        seconds_after_stop: longest wait from that moment on

    Attributes:
        began: time (s) by time.monotonic()
    """

    def __init__(self, seconds: float, stop: Callable[[], bool], seconds_after_stop: float) -> None:
        self.began = time.monotonic()
        self._seconds = seconds
        self._stop = stop
        self._after_stop = seconds_after_stop
        self._stopped: float | None = None

    def waited(self) -> float:
        """Return the seconds since the wait began."""
        return time.monotonic() - self.began

    def is_cut(self) -> bool:
        """Return whether the wait is over because of a request to stop."""
        if self._stopped is None and self._stop():
            self._stopped = time.monotonic()
        return self._stopped is not None and time.monotonic() - self._stopped > self._after_stop

    def is_over(self) -> bool:
        """Return whether the wait is over."""
        return self.waited() > self._seconds or self.is_cut()

    def reason(self) -> str:
        """Return why it is over, in words."""
        if self.is_cut():
            return f"no answer within {self._after_stop:g} s of the request to stop"
        return f"no answer within {self._seconds:g} s"
