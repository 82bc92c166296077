"""Which stores are there: the door hears of each every few seconds, and tells the SuperLink and the app what they need.

A heartbeat costs Flower's SuperLink 10 to 30 ms of processor time. So the door passes on one now and then, good for a
longer time, and names in a file, which the server's app reads, who is there and who is not.
"""

import json
import time
from asyncio import sleep
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fedshelf.server.ipc.file_watcher import WatchedFile

INTERVAL = 300.0  # seconds that are told to the SuperLink: it takes a node to be there for twice as long
PASSED_EVERY = 400.0  # seconds between two heartbeats of a node that are passed on ...
TRIED_EVERY = 20.0  # ... or between two attempts, of which one gets through before the SuperLink gives the node up
SILENT_SECONDS = {True: 20.0, False: 60.0}  # seconds after which a store is gone, by whether it is ours or Flower's
FORGOTTEN = 600.0  # seconds after which nothing is known any more of a silent node
SETTLED = 120.0  # seconds from the door's start until all stores that are there have been heard: others are gone then
PRESENCE_POLL_SECONDS = 0.5  # seconds between two looks at who is there


@dataclass(eq=False)
class _SeenNode:
    """When it was heard of last and its last heartbeat passed on; requests that wait for messages just now."""

    heard: float
    passed: float
    is_ours: bool
    waiting: int = 0


class Presence:
    """Of all nodes that have proven who they are. path: of the file."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock, self._began = path, clock, clock()
        self._keys, self._nodes = dict[str, int](), dict[int, _SeenNode]()
        self._written = ""
        self.write()

    async def watch(self) -> None:
        """Keep the file up to date until cancelled."""
        while True:
            self.write()
            await sleep(PRESENCE_POLL_SECONDS)

    def node_of(self, key: str) -> int:
        """Return the node that a key stands for, as far as the SuperLink has said; else 0."""
        return self._keys.get(key, 0)

    def proven(self, key: str, node_id: int, *, is_ours: bool) -> None:
        """The SuperLink has said that a node has this key."""
        self._keys[key] = node_id
        self._nodes[node_id] = _SeenNode(self._clock(), self._clock(), is_ours)

    def is_known(self, node_id: int) -> bool:
        """Return whether a node has proven who it is."""
        return node_id in self._nodes

    def left(self, key: str) -> None:
        """The node has taken leave, or comes anew."""
        self._nodes.pop(self._keys.pop(key, 0), None)

    def disproven(self, node_id: int) -> None:
        """The SuperLink does not know the node any more."""
        self._nodes.pop(node_id, None)

    def begin_passing(self, node_id: int) -> bool:
        """Return whether the SuperLink should hear of a known node now; nobody else is told so then for a while."""
        node = self._nodes[node_id]
        if self._clock() - node.passed <= PASSED_EVERY:
            return False
        node.passed = self._clock() - PASSED_EVERY + TRIED_EVERY
        return True

    def passed(self, node_id: int) -> None:
        """The SuperLink has heard of a node."""
        if node := self._nodes.get(node_id):
            node.passed = self._clock()

    def heard(self, node_id: int) -> None:
        """A request of a node has come."""
        if node := self._nodes.get(node_id):
            node.heard = self._clock()

    @contextmanager
    def waiting(self, node_id: int) -> Iterator[None]:
        """Take a node to be there as long as its request is held back."""
        if (node := self._nodes.get(node_id)) is None:
            yield
            return
        node.waiting += 1
        try:
            yield
        finally:
            node.waiting, node.heard = node.waiting - 1, self._clock()

    def is_waiting(self, node_id: int) -> bool:
        """Return whether a request of a node is held back."""
        node = self._nodes.get(node_id)
        return node is not None and node.waiting > 0

    def is_silent(self, node_id: int) -> bool:
        """Return whether a node has not been heard of for so long that it is gone."""
        node = self._nodes.get(node_id)
        return node is not None and not node.waiting and self._clock() - node.heard > SILENT_SECONDS[node.is_ours]

    def write(self) -> None:
        """Write who is there, if that has changed. A full disk is no error: the SuperLink notices later."""
        now = self._clock()
        silent = set(filter(self.is_silent, self._nodes))
        for node_id in [each for each in silent if now - self._nodes[each].heard > FORGOTTEN]:
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
    """Reads, for the app, what the door has written to the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path, self._watched = path, WatchedFile(path)
        self._here, self._gone, self._is_settled = frozenset[int](), frozenset[int](), False
        self._read()

    def has_changed(self) -> bool:
        """Take in what is new; return whether something is."""
        if not self._watched.has_changed():
            return False
        self._read()
        return True

    def of(self, online: Set[int]) -> set[int]:
        """Return the nodes that are there, of those that the SuperLink takes to be `online`."""
        return set(online & self._here if self._is_settled else online - self._gone)

    def _read(self) -> None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            told = json.loads(self._path.read_bytes())
            here, gone = (frozenset(map(int, told[which])) for which in ("here", "gone"))
            self._here, self._gone, self._is_settled = here, gone, told["settled"] is True
