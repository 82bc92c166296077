"""Presence of stores: the gateway hears from each store every few seconds.

It informs the SuperLink and the app as needed.

A heartbeat costs Flower's SuperLink 10 to 30 ms of processor time. So the gateway forwards only a
few, each good for a longer time, and lists present and absent nodes in a file that the server's app
reads.
"""

import json
import time
from asyncio import sleep
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fedshelf.server.ipc.file_watcher import WatchedFile

# heartbeat interval (s) announced to the SuperLink: it gives a node up after twice as long
INTERVAL = 300.0
PASSED_EVERY = 400.0  # seconds between two forwarded heartbeats of a node ...
# ... or between two attempts; one of them gets through before the SuperLink gives the node up
TRIED_EVERY = 20.0
SILENT_SECONDS = {True: 20.0, False: 60.0}  # seconds until a silent store is gone; True: our client
FORGOTTEN_SECONDS = 600.0  # seconds after which a silent node is dropped from the record
SETTLED = 120.0  # seconds after the gateway's start; a node that has not been heard by then is gone
PRESENCE_POLL_SECONDS = 0.5  # seconds between two updates of the file


@dataclass(eq=False)
class _SeenNode:
    """A node that has proven who it is. Times are those of `Presence`'s clock.

    Attributes:
        heard: time of its last request
        passed: time of its last forwarded heartbeat
        waiting: number of its requests that are held back now, until there are messages
    """

    heard: float
    passed: float
    is_ours: bool
    waiting: int = 0


class Presence:
    """Record of all nodes that have proven who they are, for the gateway.

    Args:
        path: the file that the app reads
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._began = clock()
        self._keys = dict[str, int]()
        self._nodes = dict[int, _SeenNode]()
        self._written = ""
        self.write()

    async def watch(self) -> None:
        """Keep the file up to date until cancelled."""
        while True:
            self.write()
            await sleep(PRESENCE_POLL_SECONDS)

    def node_of(self, key: str) -> int:
        """Return the node of a key, as far as the SuperLink has said; else 0."""
        return self._keys.get(key, 0)

    def proven(self, key: str, node_id: int, *, is_ours: bool) -> None:
        """Record that the SuperLink has confirmed that a node has this key."""
        self._keys[key] = node_id
        self._nodes[node_id] = _SeenNode(self._clock(), self._clock(), is_ours)

    def is_known(self, node_id: int) -> bool:
        """Return whether a node has proven who it is."""
        return node_id in self._nodes

    def left(self, key: str) -> None:
        """Record that the node of a key has unregistered, or registers again."""
        self._nodes.pop(self._keys.pop(key, 0), None)

    def disproven(self, node_id: int) -> None:
        """Record that the SuperLink does not know the node any more."""
        self._nodes.pop(node_id, None)

    def begin_passing(self, node_id: int) -> bool:
        """Return whether a known node's heartbeat should be forwarded now.

        After True, other callers get False for a while.
        """
        node = self._nodes[node_id]
        if self._clock() - node.passed <= PASSED_EVERY:
            return False
        node.passed = self._clock() - PASSED_EVERY + TRIED_EVERY
        return True

    def passed(self, node_id: int) -> None:
        """Record that the SuperLink has a node's heartbeat."""
        if node := self._nodes.get(node_id):
            node.passed = self._clock()

    def heard(self, node_id: int) -> None:
        """Record that a request of a node has arrived."""
        if node := self._nodes.get(node_id):
            node.heard = self._clock()

    @contextmanager
    def waiting(self, node_id: int) -> Iterator[None]:
        """Count a node as present as long as its request is held back."""
        if (node := self._nodes.get(node_id)) is None:
            yield
            return
        node.waiting += 1
        try:
            yield
        finally:
            node.waiting = node.waiting - 1
            node.heard = self._clock()

    def is_waiting(self, node_id: int) -> bool:
        """Return whether a request of a node is held back."""
        node = self._nodes.get(node_id)
        return node is not None and node.waiting > 0

    def is_silent(self, node_id: int) -> bool:
        """Return whether a node has been silent for so long that it is gone."""
        node = self._nodes.get(node_id)
        return (
            node is not None
            and not node.waiting
            and self._clock() - node.heard > SILENT_SECONDS[node.is_ours]
        )

    def write(self) -> None:
        """Write the present nodes, if they have changed.

        A full disk is no error: the SuperLink notices later.
        """
        now = self._clock()
        silent = set(filter(self.is_silent, self._nodes))
        for node_id in [
            each for each in silent if now - self._nodes[each].heard > FORGOTTEN_SECONDS
        ]:
            del self._nodes[node_id]
            silent.remove(node_id)
        told = {"here": sorted(self._nodes.keys() - silent), "gone": sorted(silent)}
        text = json.dumps(told | {"settled": now - self._began > SETTLED})
        if text != self._written:
            fresh = self._path.with_suffix(".new")
            with suppress(OSError):
                fresh.write_text(text, encoding="ascii")
                fresh.replace(self._path)
                self._written = text


class PresenceReader:
    """Reads, for the app, the file at `path` that the gateway writes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._watched = WatchedFile(path)
        self._here = frozenset[int]()
        self._gone = frozenset[int]()
        self._is_settled = False
        self._read()

    def has_changed(self) -> bool:
        """Read the file if it has changed, and return whether it has."""
        if not self._watched.has_changed():
            return False
        self._read()
        return True

    def of(self, online: Set[int]) -> set[int]:
        """Return the present nodes, out of those that the SuperLink considers `online`."""
        return set(online & self._here if self._is_settled else online - self._gone)

    def _read(self) -> None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(self._path.read_bytes())
            here, gone = (frozenset(map(int, told[which])) for which in ("here", "gone"))
            self._here = here
            self._gone = gone
            self._is_settled = told["settled"] is True
