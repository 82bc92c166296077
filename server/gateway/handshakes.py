"""Limits on TLS handshakes: each is work for the server before it knows who the client is.

A handshake costs the server 2 ms of a core; a connection that is closed before it costs 0.2 ms.
"""

import ipaddress
import time
from collections import OrderedDict

MAX_OWNERS = 2**14  # owners of one kind
HOST_BITS = 64  # prefix of an IPv6 address: one household or machine has all addresses with it


class TokenBucket:
    """A token bucket for each owner.

    Args:
        burst: handshakes that an owner may begin at once
        rate:  handshakes a second that it may begin in the long run
    """

    def __init__(self, burst: int, rate: float) -> None:
        # seconds; half a handshake for rounding
        self._max_seconds_ahead = (burst + 0.5) / rate
        self._seconds_per_handshake = 1 / rate
        # time.monotonic() up to which each has used its rate
        self._used_until: OrderedDict[str, float] = OrderedDict()

    def take(self, owner: str, now: float) -> bool:
        """Return whether the owner may begin one more handshake, and count it if so.

        Args:
            owner: an address or prefix
            now:   time (s) by time.monotonic()
        """
        used_until = max(self._used_until.pop(owner, 0.0), now) + self._seconds_per_handshake
        is_allowed = used_until - now <= self._max_seconds_ahead
        self._used_until[owner] = (
            used_until if is_allowed else used_until - self._seconds_per_handshake
        )
        if len(self._used_until) > MAX_OWNERS:
            self._used_until.popitem(last=False)
        return is_allowed


class Handshakes:
    """Decides who may begin a handshake.

    A chain may have a thousand stores behind one router, which all connect at once when the server
    starts: their address is a stranger's until the first of them has proven its key. So addresses
    that stores used recently have an allowance of their own.
    """

    def __init__(self) -> None:
        self._familiar = TokenBucket(8192, 500)
        self._strangers = TokenBucket(512, 20)
        # 4 s of a core at once, 0.2 of a core in the long run
        self._all_strangers = TokenBucket(2048, 100)

    def may_begin(self, address: str, *, is_familiar: bool, now: float | None = None) -> bool:
        """Return whether a client may begin one more handshake, and count it if so.

        Args:
            address:     the client's IP address
            is_familiar: True if a store has recently proven its key from there
            now:         time (s) by time.monotonic(); None: the present
        """
        now = time.monotonic() if now is None else now
        owner = _owner(address)
        if is_familiar:
            return self._familiar.take(owner, now)
        return self._strangers.take(owner, now) and self._all_strangers.take("", now)


def _owner(address: str) -> str:
    """Return an IPv4 address, or the prefix of an IPv6 address that identifies its owner."""
    if ":" not in address:
        return address
    number = ipaddress.IPv6Address(address.partition("%")[0])
    return str(
        number.ipv4_mapped
        or ipaddress.IPv6Network((int(number) >> HOST_BITS << HOST_BITS, HOST_BITS))
    )
