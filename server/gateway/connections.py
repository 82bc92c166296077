"""Limits on connections from outside: their number, by owner, and the time that each may take to
send.

A connection is a stranger's until a request on it is signed with the key of an enrolled store.
Strangers have a limit of their own: beyond it, the oldest connection of the address with most of
them is closed, and never a store's.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum

from fedshelf.server.credentials.rejection_log import RejectionLog

# from connecting, or the first byte of a further request, to the end of the headers
HEAD_SECONDS = 30.0
# without any byte of a body, by whether a store has proven its key
STALL_SECONDS = {False: 30.0, True: 120.0}
MIN_BODY_BYTES_PER_SECOND = 2000.0  # average rate of a body that is required beyond STALL_SECONDS

# connections of strangers; as many more from addresses that stores used recently
MOST_UNPROVEN = 512
# of these from one address: stores behind one router all begin as strangers
MOST_UNPROVEN_OF_ONE = 256
# connections on which one store's key was proven; those that a broken link left count, too
MOST_OF_A_STORE = 64
# for which an address counts as familiar after the last key was proven from it
FAMILIAR_SECONDS = 600.0
MOST_FAMILIAR = 2**14  # addresses
SPARE_FILES = 128  # file descriptors that the process needs beside connections from outside


class Awaited(Enum):
    """The next part of a request that the client has to send."""

    HEAD = "the headers of its request"
    BODY = "the body of its request"
    NOTHING = "nothing"


class Connection:
    """One connection from outside.

    address: IP address of the client
    abort:   closes the connection at once
    key:     the header that names the key proven on it; empty before
    node:    Flower's node id proven on it; 0 before
    """

    def __init__(self, address: str, abort: Callable[[], object]) -> None:
        self.address = address
        self.abort = abort
        self.key = ""
        self.node = 0
        self.expect(Awaited.HEAD)

    def expect(self, awaited: Awaited) -> None:
        """Begin to wait for this part."""
        self.awaited = awaited
        self._since = time.monotonic()
        self._bytes = 0
        self._last = self._since

    def received(self, count: int) -> int:
        """Count `count` more bytes; return the bytes received of the awaited part."""
        self._last = time.monotonic()
        self._bytes += count
        return self._bytes

    def is_late(self, now: float) -> bool:
        """Return whether the awaited part is overdue at `now`, in time.monotonic()."""
        patience = STALL_SECONDS[bool(self.key)]
        match self.awaited:
            case Awaited.HEAD:
                return now - self._since > HEAD_SECONDS
            case Awaited.BODY:
                return (
                    now - self._last > patience
                    or now - self._since > patience + self._bytes / MIN_BODY_BYTES_PER_SECOND
                )
        return False


class _Pool:
    """Connections by their owner, an address or a key: at most `most`, and at most `most_of_one` of
    one owner.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._count = 0
        self._owners: dict[str, dict[Connection, None]] = {}

    def add(self, owner: str, connection: Connection) -> Connection | None:
        """Add a connection; return the one to be closed for it, if any."""
        own = self._owners.setdefault(owner, {})
        own[connection] = None
        self._count += 1
        if len(own) > self._most_of_one:
            return next(iter(own))
        if self._count > self._most:
            # the first of several
            owner = max(self._owners, key=lambda each: len(self._owners[each]))
            return next(iter(self._owners[owner]))
        return None

    def remove(self, owner: str, connection: Connection) -> None:
        """Remove a connection that was added for `owner`."""
        own = self._owners[owner]
        del own[connection]
        self._count -= 1
        if not own:
            del self._owners[owner]


class ConnectionLimits:
    """Closes connections that are too many or too slow, and says so in `log`.

    files: file descriptors that the process may open
    """

    def __init__(self, log: RejectionLog, files: int) -> None:
        room = max(files - SPARE_FILES, SPARE_FILES)
        unproven = min(MOST_UNPROVEN, room // 4)
        self._log = log
        self._strangers = _Pool(unproven, min(MOST_UNPROVEN_OF_ONE, unproven))
        self._neighbours = _Pool(unproven, min(MOST_UNPROVEN_OF_ONE, unproven))
        self._stores = _Pool(room - 2 * unproven, MOST_OF_A_STORE)
        self._places: dict[Connection, tuple[_Pool, str]] = {}
        self._familiar: OrderedDict[str, float] = OrderedDict()

    def add(self, connection: Connection) -> None:
        """Add a new connection; another one may be closed for it."""
        pool = self._neighbours if self.is_familiar(connection.address) else self._strangers
        self._put(connection, pool, connection.address)

    def is_familiar(self, address: str) -> bool:
        """Return whether a store has recently proven its key on a connection from this address."""
        return time.monotonic() - self._familiar.get(address, -FAMILIAR_SECONDS) < FAMILIAR_SECONDS

    def prove(self, connection: Connection, key: str) -> None:
        """Record that a request on the connection was signed with the store's key that this header
        names.
        """
        if connection not in self._places:
            return  # it has ended meanwhile
        self._familiar.pop(connection.address, None)
        self._familiar[connection.address] = time.monotonic()
        if len(self._familiar) > MOST_FAMILIAR:
            self._familiar.popitem(last=False)
        self.remove(connection)
        connection.key = key
        connection.node = 0
        self._put(connection, self._stores, key)

    def remove(self, connection: Connection) -> None:
        """Remove a connection that has ended; an unknown one is ignored."""
        if place := self._places.pop(connection, None):
            pool, owner = place
            pool.remove(owner, connection)

    def end_late(self) -> None:
        """Close the overdue connections."""
        now = time.monotonic()
        for connection in [each for each in self._places if each.is_late(now)]:
            self._end(connection, f"it did not send {connection.awaited.value} in time")

    def _put(self, connection: Connection, pool: _Pool, owner: str) -> None:
        self._places[connection] = pool, owner
        if (surplus := pool.add(owner, connection)) is not None:
            whose = (
                "of one store" if pool is self._stores else "on which no store has proven its key"
            )
            self._end(surplus, f"too many connections {whose}")

    def _end(self, connection: Connection, why: str) -> None:
        self.remove(connection)
        self._log.tell(connection.address, why)
        connection.abort()
