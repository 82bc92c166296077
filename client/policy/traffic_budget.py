"""The policy's budgets of bytes: no message is fetched, and no answer sent, that would exceed
them.
"""

import threading
import time
from collections.abc import Callable
from typing import Literal

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.schedule import seconds_until_midnight
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS

MAX_UNSAVED_BYTES = (
    2**20
)  # received bytes after which the count is saved: the process may be killed before a message ends

Direction = Literal["down", "up"]
_KEYS = {"down": "megabytes-down-per-day", "up": "megabytes-up-per-day"}


class TrafficBudget:
    """Counts the bytes of messages in both directions, in `usage`, and refuses those beyond today's
    budget.

    Any thread may use it. now: Unix time (s)
    """

    def __init__(self, policy: Policy, usage: Usage, now: Callable[[], float] = time.time) -> None:
        self._usage = usage
        self._now = now
        self._lock = threading.Lock()
        self._limit_bytes = {
            "down": policy.megabytes_down_per_day * 1e6,
            "up": policy.megabytes_up_per_day * 1e6,
        }
        self._unsaved_bytes = 0

    def check(self, direction: Direction, size: int) -> None:
        """Check that today's budget has room for `size` bytes; else raise StoreError.

        ConfigError: damaged records.
        """
        with self._lock:
            self._check(direction, size)

    def count_received(self, size: int) -> None:
        """Count `size` bytes of a message before they come in. Raises what `check` raises."""
        with self._lock:
            self._check("down", size)
            self._unsaved_bytes += size
            if self._unsaved_bytes >= MAX_UNSAVED_BYTES:
                self._save()

    def save(self) -> None:
        """Save the count of received bytes. Raises OSError, ConfigError for damaged records."""
        with self._lock:
            self._save()

    def count_sent(self, size: int) -> None:
        """Count `size` sent bytes. Raises OSError, ConfigError for damaged records."""
        self._usage.add(Spent(up=size))

    def _check(self, direction: Direction, size: int) -> None:
        if not (limit_bytes := self._limit_bytes[direction]):
            return
        today = self._usage.today()
        used_bytes = today.down + self._unsaved_bytes if direction == "down" else today.up
        if used_bytes + size > limit_bytes:
            raise StoreError(
                "policy",
                f"The store's policy does not allow it ({_KEYS[direction].replace('-', '_')}):"
                f" {used_bytes / 1e6:.3f} of {limit_bytes / 1e6:g} MB are used, and it needs up to"
                f" {size / 1e6:.3f} more.",
                _KEYS[direction],
                min(int(seconds_until_midnight(self._now())) + 1, MAX_RETRY_AFTER_SECONDS),
            )

    def _save(self) -> None:
        if self._unsaved_bytes:
            self._usage.add(Spent(down=self._unsaved_bytes))
            self._unsaved_bytes = 0
