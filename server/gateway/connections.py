"""Limits on connections from outside: how many an owner has, and how long each may take to send.

    an unknown address -> strangers --+
                                      +-- a proven key -> the store's connections
    a familiar address -> neighbours -+

A connection is a stranger's until a request on it is signed with the key of an enrolled store.
Strangers have a limit of their own: beyond it, the oldest connection of the address that has most
of them is closed, and never a store's.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum

from fedshelf.server.credentials.rejection_log import RejectionLog

# from connecting, or the first byte of a further request, to the end of the headers
HEAD_TIMEOUT_SECONDS = 30.0
# without any byte of a body, by whether a store has proven its key
STALL_TIMEOUT_SECONDS = {False: 30.0, True: 120.0}
# average rate of a body that is required beyond the timeout above
MIN_BODY_BYTES_PER_SECOND = 2000.0

# connections of strangers; as many more from addresses that stores used recently
MAX_UNPROVEN_CONNECTIONS = 512
# of these from one address: stores behind one router all begin as strangers
MAX_UNPROVEN_PER_ADDRESS = 256
# connections on which one store's key was proven; those that a broken link left count, too
MAX_CONNECTIONS_PER_STORE = 64
# for which an address counts as familiar after the last key was proven from it
FAMILIAR_SECONDS = 600.0
MAX_FAMILIAR_ADDRESSES = 2**14
RESERVED_FILE_DESCRIPTORS = (
    128  # file descriptors that the process needs beside connections from outside
)


class Awaited(Enum):
    """The next part of a request that the client has to send."""

    HEAD = "the headers of its request"
    BODY = "the body of its request"
    NOTHING = "nothing"


class Connection:
    """One connection from outside.

    Attributes:
        address: IP address of the client
        abort:   function that closes the connection at once
        key:     header that names the key proven on this connection; empty before
        node_id: Flower's node id proven on this connection; 0 before
    """

    def __init__(self, address: str, abort: Callable[[], object]) -> None:
        self.address = address
        self.abort = abort
        self.key = ""
        self.node_id = 0
        self.expect(Awaited.HEAD)

    def expect(self, awaited: Awaited) -> None:
        """Begin to wait for a part of a request."""
        self.awaited = awaited
        self._awaited_since = time.monotonic()
        self._bytes = 0
        self._last_byte_at = self._awaited_since

    def count_received(self, byte_count: int) -> int:
        """Count received bytes.

        Args:
            byte_count: bytes that have just come

        Returns:
            All bytes received of the awaited part.
        """
        self._last_byte_at = time.monotonic()
        self._bytes += byte_count
        return self._bytes

    def is_overdue(self, now: float) -> bool:
        """Return whether the awaited part should have come by now.

        Args:
            now: time (s) by time.monotonic()
        """
        stall_timeout = STALL_TIMEOUT_SECONDS[bool(self.key)]
        match self.awaited:
            case Awaited.HEAD:
                # from its beginning: a byte now and then keeps no head alive
                return now - self._awaited_since > HEAD_TIMEOUT_SECONDS
            case Awaited.BODY:
                return (
                    now - self._last_byte_at > stall_timeout
                    or now - self._awaited_since
                    > stall_timeout + self._bytes / MIN_BODY_BYTES_PER_SECOND
                )
        return False


class _ConnectionPool:
    """Connections by their owner, which is an address or a key.

    Args:
        limit:           most connections in the pool
        limit_per_owner: most connections of one owner
    """

    def __init__(self, limit: int, limit_per_owner: int) -> None:
        self._limit = limit
        self._limit_per_owner = limit_per_owner
        self._count = 0
        self._owners: dict[str, dict[Connection, None]] = {}

    def add(self, owner: str, connection: Connection) -> Connection | None:
        """Add a connection; return the one that has to be closed for it, if any."""
        own = self._owners.setdefault(owner, {})
        own[connection] = None
        self._count += 1
        if len(own) > self._limit_per_owner:
            # the oldest: a store that lost its line comes back on new connections
            return next(iter(own))
        if self._count > self._limit:
            # the first of several
            owner = max(self._owners, key=lambda other_owner: len(self._owners[other_owner]))
            return next(iter(self._owners[owner]))
        return None

    def remove(self, owner: str, connection: Connection) -> None:
        """Remove a connection that was added for this owner."""
        own = self._owners[owner]
        del own[connection]
        self._count -= 1
        if not own:
            del self._owners[owner]


class ConnectionLimits:
    """Closes connections that are too many or too slow, and logs each with the reason.

    Args:
        rejection_log: log of closed connections
        file_limit:    file descriptors that the process may open
    """

    def __init__(self, rejection_log: RejectionLog, file_limit: int) -> None:
        usable = max(file_limit - RESERVED_FILE_DESCRIPTORS, RESERVED_FILE_DESCRIPTORS)
        unproven = min(MAX_UNPROVEN_CONNECTIONS, usable // 4)
        self._rejection_log = rejection_log
        self._strangers = _ConnectionPool(unproven, min(MAX_UNPROVEN_PER_ADDRESS, unproven))
        # a pool of their own, so that a crowd of strangers closes no connection of a store that
        # comes back
        self._neighbours = _ConnectionPool(unproven, min(MAX_UNPROVEN_PER_ADDRESS, unproven))
        self._stores = _ConnectionPool(usable - 2 * unproven, MAX_CONNECTIONS_PER_STORE)
        self._pool_of: dict[Connection, tuple[_ConnectionPool, str]] = {}
        self._familiar: OrderedDict[str, float] = OrderedDict()

    def add(self, connection: Connection) -> None:
        """Add a new connection; another one may be closed for it."""
        pool = self._neighbours if self.is_familiar(connection.address) else self._strangers
        self._add_to(connection, pool, connection.address)

    def is_familiar(self, address: str) -> bool:
        """Return whether a store has recently proven its key on a connection from this address."""
        return time.monotonic() - self._familiar.get(address, -FAMILIAR_SECONDS) < FAMILIAR_SECONDS

    def mark_proven(self, connection: Connection, key: str) -> None:
        """Count a connection as a store's: a request on it was signed with the store's key.

        Args:
            connection: the connection of the request
            key:        the header that names the key
        """
        if connection not in self._pool_of:
            return  # it has ended meanwhile
        # out and in again: the one that proved itself longest ago is forgotten first
        self._familiar.pop(connection.address, None)
        self._familiar[connection.address] = time.monotonic()
        if len(self._familiar) > MAX_FAMILIAR_ADDRESSES:
            self._familiar.popitem(last=False)
        self.remove(connection)
        connection.key = key
        connection.node_id = 0
        self._add_to(connection, self._stores, key)

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended; an unknown one is ignored."""
        if entry := self._pool_of.pop(connection, None):
            pool, owner = entry
            pool.remove(owner, connection)

    def close_overdue(self) -> None:
        """Close the connections whose next part should have come by now."""
        now = time.monotonic()
        for connection in [
            connection for connection in self._pool_of if connection.is_overdue(now)
        ]:
            self._close(connection, f"it did not send {connection.awaited.value} in time")

    def _add_to(self, connection: Connection, pool: _ConnectionPool, owner: str) -> None:
        self._pool_of[connection] = pool, owner
        if (surplus := pool.add(owner, connection)) is not None:
            pool_description = (
                "of one store" if pool is self._stores else "on which no store has proven its key"
            )
            self._close(surplus, f"too many connections {pool_description}")

    def _close(self, connection: Connection, reason: str) -> None:
        self.remove(connection)
        self._rejection_log.tell(connection.address, reason)
        connection.abort()
