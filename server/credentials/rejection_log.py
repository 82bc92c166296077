"""Log of clients rejected at the gateway: one line each in the server's log, rate-limited."""

import time
from collections import OrderedDict

QUIET_SECONDS = 60.0  # in which the same line is not repeated
MAX_REMEMBERED_REJECTIONS = 1000  # pairs of address and reason
MAX_LINES_PER_PERIOD = 100  # lines within QUIET_SECONDS, for all clients together
MAX_WRONG_CODES = 5  # wrong codes from one address within QUIET_SECONDS


class RejectionLog:
    """Prints who was rejected, from where and why; never the data that they sent."""

    def __init__(self) -> None:
        self._last_printed: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._period_began = 0.0
        self._line_count = 0

    def tell(self, address: str, reason: str) -> None:
        """Log that a client was rejected.

        Args:
            address: IP address of the client
            reason:  why, in a few words
        """
        now = time.monotonic()
        last_printed = self._last_printed.pop((address, reason), -QUIET_SECONDS)
        is_repetition = now - last_printed < QUIET_SECONDS
        self._last_printed[address, reason] = last_printed if is_repetition else now
        if len(self._last_printed) > MAX_REMEMBERED_REJECTIONS:
            self._last_printed.popitem(last=False)
        if not is_repetition and self._may_print(now):
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} refused {address}: {reason}", flush=True)

    def _may_print(self, now: float) -> bool:
        if now - self._period_began > QUIET_SECONDS:
            self._period_began = now
            self._line_count = 0
        self._line_count += 1
        if self._line_count == MAX_LINES_PER_PERIOD:
            print(
                "Many connections are refused; further ones of this minute are not logged.",
                flush=True,
            )
        return self._line_count < MAX_LINES_PER_PERIOD


class WrongCodes:
    """Number of recent wrong codes from each address."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, list[float]] = OrderedDict()

    def is_blocked(self, address: str) -> bool:
        """Return whether the address has to wait before it may try again."""
        recent = [
            at for at in self._times.get(address, []) if time.monotonic() - at < QUIET_SECONDS
        ]
        return len(recent) >= MAX_WRONG_CODES

    def add(self, address: str) -> None:
        """Count one more wrong code."""
        self._times[address] = [
            *self._times.pop(address, [])[1 - MAX_WRONG_CODES :],
            time.monotonic(),
        ]
        if len(self._times) > MAX_REMEMBERED_REJECTIONS:
            self._times.popitem(last=False)
