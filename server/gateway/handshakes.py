"""Limits on TLS handshakes: each is work for the server before it knows who the client is.

A handshake costs the server 2 ms of a core; a connection that is closed before it costs 0.2 ms.
"""

import ipaddress
import time
from collections import OrderedDict

MAX_BUCKETS = 2**14  # owners of one kind
HOST_BITS = 64  # prefix of an IPv6 address: one household or machine has all addresses with it


class TokenBucket:
    """A token bucket for each owner: `burst` handshakes at once, and `rate` a second in the long
    run.
    """

    def __init__(self, burst: int, rate: float) -> None:
        # seconds; half a handshake for rounding
        self._ahead = (burst + 0.5) / rate
        self._each = 1 / rate
        # time.monotonic() up to which each has used its rate
        self._paid: OrderedDict[str, float] = OrderedDict()

    def take(self, owner: str, now: float) -> bool:
        """Return whether the owner may begin one more handshake, and count it."""
        paid = max(self._paid.pop(owner, 0.0), now) + self._each
        is_allowed = paid - now <= self._ahead
        self._paid[owner] = paid if is_allowed else paid - self._each
        if len(self._paid) > MAX_BUCKETS:
            self._paid.popitem(last=False)
        return is_allowed


class Handshakes:
    """Decides who may begin a handshake: addresses that stores used recently have their own
    allowance.

    A chain may have a thousand stores behind one router, which all connect at once when the server
    starts: their address is a stranger's until the first of them has proven its key.
    """

    def __init__(self) -> None:
        self._familiar = TokenBucket(8192, 500)
        self._strangers = TokenBucket(512, 20)
        # 4 s of a core at once, 0.2 of a core in the long run
        self._all_strangers = TokenBucket(2048, 100)

    def may_begin(self, address: str, *, is_familiar: bool, now: float | None = None) -> bool:
        """Return whether a client at `address` may begin one more, and count it; now: in
        time.monotonic().
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
