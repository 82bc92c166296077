"""Log of clients rejected at the gateway: one line each in the server's log, rate-limited."""

import time
from collections import OrderedDict

QUIET_SECONDS = 60.0  # seconds in which the same line is not repeated
MAX_REMEMBERED_REJECTIONS = 1000  # pairs of address and reason
MAX_LINES_PER_PERIOD = 100  # lines within QUIET_SECONDS, for all clients together
TRIES = 5  # wrong codes from one address within QUIET_SECONDS


class RejectionLog:
    """Prints who was rejected, from where and why; never the data that they sent."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._began = 0.0
        self._said = 0

    def tell(self, address: str, why: str) -> None:
        """Log that a client at `address` was rejected, because of `why`."""
        now = time.monotonic()
        before = self._last.pop((address, why), -QUIET_SECONDS)
        is_repetition = now - before < QUIET_SECONDS
        self._last[address, why] = before if is_repetition else now
        if len(self._last) > MAX_REMEMBERED_REJECTIONS:
            self._last.popitem(last=False)
        if not is_repetition and self._may_speak(now):
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} refused {address}: {why}", flush=True)

    def _may_speak(self, now: float) -> bool:
        if now - self._began > QUIET_SECONDS:
            self._began = now
            self._said = 0
        self._said += 1
        if self._said == MAX_LINES_PER_PERIOD:
            print("Many are being refused; the rest of this minute is not logged.", flush=True)
        return self._said < MAX_LINES_PER_PERIOD


class Tries:
    """Number of recent wrong codes from each address."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def are_used_up(self, address: str) -> bool:
        """Return whether the address has to wait."""
        recent = [
            moment
            for moment in self._failed.get(address, [])
            if time.monotonic() - moment < QUIET_SECONDS
        ]
        return len(recent) >= TRIES

    def failed(self, address: str) -> None:
        """Count one more wrong code."""
        self._failed[address] = [*self._failed.pop(address, [])[1 - TRIES :], time.monotonic()]
        if len(self._failed) > MAX_REMEMBERED_REJECTIONS:
            self._failed.popitem(last=False)
