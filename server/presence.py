"""Which stores are there: the door hears of each every few seconds, and tells the SuperLink and the app what they need.

A heartbeat costs Flower's SuperLink some 10 ms of processor time. So the door passes on one now and then, good for a
longer time, and names stores that it has not heard of in a file that the server's app reads.
"""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.files import write_json

INTERVAL = 60.0  # seconds that are told to the SuperLink: it takes a node to be there for twice as long
PASSED_EVERY = 80.0  # seconds between two heartbeats of a node that are passed on
SILENT = {True: 20.0, False: 60.0}  # seconds after which a store is gone, by whether it is ours or Flower's
FORGOTTEN = 600.0  # seconds after which a silent node is named no more: the SuperLink has noticed long since
LOOK = 1.0  # seconds between two looks at who is silent


@dataclass
class _Node:
    """When it was heard of last and its last heartbeat passed on; requests that wait for messages just now."""

    heard: float
    passed: float
    is_ours: bool
    held: int = 0


class Presence:
    """Of all nodes that have proven who they are. path: of the file."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._keys, self._nodes = dict[str, int](), dict[int, _Node]()
        self._written: frozenset[int] = frozenset()
        self._path.unlink(missing_ok=True)

    async def watch(self) -> None:
        """Keep the file up to date until cancelled."""
        while True:
            self.write()
            await asyncio.sleep(LOOK)

    def node_of(self, key: str) -> int:
        """Return the node that a key stands for, as far as the SuperLink has said; else 0."""
        return self._keys.get(key, 0)

    def proven(self, key: str, node_id: int, *, is_ours: bool) -> None:
        """The SuperLink has taken a heartbeat of this node, with this key."""
        held = known.held if (known := self._nodes.get(node_id)) else 0
        self._keys[key], self._nodes[node_id] = node_id, _Node(self._clock(), self._clock(), is_ours, held)

    def left(self, key: str) -> None:
        """The node has taken leave, or comes anew."""
        self._nodes.pop(self._keys.pop(key, 0), None)

    def is_due(self, node_id: int) -> bool:
        """Return whether the SuperLink should hear of a node."""
        return (node := self._nodes.get(node_id)) is None or self._clock() - node.passed > PASSED_EVERY

    def heard(self, node_id: int, held: int = 0) -> None:
        """A request of a node has come; `held` 1: it waits for messages; -1: it does so no more."""
        if node := self._nodes.get(node_id):
            node.heard, node.held = self._clock(), max(node.held + held, 0)

    def is_silent(self, node_id: int) -> bool:
        """Return whether a node has not been heard of for so long that it is gone."""
        node = self._nodes.get(node_id)
        return node is not None and not node.held and self._clock() - node.heard > SILENT[node.is_ours]

    def write(self) -> None:
        """Write who is silent, if that has changed. A full disk is no error: the SuperLink notices later."""
        now = self._clock()
        for node_id in [each for each, node in self._nodes.items() if not node.held and now - node.heard > FORGOTTEN]:
            del self._nodes[node_id]
        silent = frozenset(filter(self.is_silent, self._nodes))
        if silent != self._written:
            with suppress(OSError):
                write_json(self._path, sorted(silent))
                self._written = silent


def silent_nodes(path: Path) -> frozenset[int]:
    """Return the nodes that the door has named in its file."""
    try:
        return frozenset(map(int, json.loads(path.read_bytes())))
    except (OSError, ValueError, TypeError):
        return frozenset()
