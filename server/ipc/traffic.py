"""Long transfers between stores and server: the door counts their bytes, the server's app reads them from a file.

Heartbeats of a store may come late while an update fills its slow link, but then its bytes come: it is there. And who
watches sees how far it is. Nothing is told of quick transfers.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest
from google.protobuf.message import DecodeError
from pydantic import TypeAdapter, ValidationError

LONG = 5.0  # seconds after which a transfer is told of ...
FLOWS_WRITE_INTERVAL_SECONDS = 2.0  # ... and between two writings
ALIVE = 15.0  # seconds after its last byte for which a store that was sending counts as there
MAX_FLOWS = 4096  # stores that are followed at the same time


@dataclass
class Flow:
    """A transfer to a node ("down") or from it ("up"), and how much of it has passed so far.

    since, last: its begin and its last byte, in seconds since the epoch
    """

    way: Literal["up", "down"]
    bytes: int
    since: float
    last: float


_FLOWS = TypeAdapter(dict[int, Flow])


class TrafficRecorder:
    """Counts for the door, and writes the file at `path`; stores are told apart by the keys that they sign with."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path, self._now, self._written = path, now, 0.0
        self._flows = OrderedDict[str, tuple[int, Flow]]()
        self._path.unlink(missing_ok=True)

    def handed_out(self, key: str, request: bytes, reply: bytes) -> None:
        """The SuperLink has answered a request for messages: if there is one, its pieces go down next."""
        with suppress(DecodeError):
            if PullMessagesResponse.FromString(reply).messages_list:
                self._begin(key, PullMessagesRequest.FromString(request).node.node_id, "down")

    def announced(self, key: str, request: bytes) -> None:
        """The SuperLink has taken the announcement of an answer: its pieces come up next."""
        with suppress(DecodeError):
            self._begin(key, PushMessagesRequest.FromString(request).node.node_id, "up")

    def count(self, key: str, way: Literal["up", "down"], size: int) -> None:
        """So many bytes of a piece have passed."""
        _, flow = self._flows.get(key, (0, None))
        if flow is None or flow.way != way:
            return
        flow.bytes, flow.last = flow.bytes + size, self._now()
        if flow.last - flow.since > LONG and flow.last - self._written > FLOWS_WRITE_INTERVAL_SECONDS:
            self._write()

    def _begin(self, key: str, node_id: int, way: Literal["up", "down"]) -> None:
        now = self._now()
        self._flows[key] = node_id, Flow(way, 0, now, now)
        self._flows.move_to_end(key)
        while len(self._flows) > MAX_FLOWS:
            self._flows.popitem(last=False)

    def _write(self) -> None:
        """Write those that take long and go on. A full disk is no error: people see less."""
        now = self._written = self._now()
        told = {node: asdict(flow) for node, flow in self._flows.values() if now - flow.last < ALIVE}
        fresh = self._path.with_suffix(".new")
        with suppress(OSError):
            fresh.write_text(json.dumps(told), encoding="utf-8")
            fresh.replace(self._path)


class TrafficReader:
    """Reads, for the app, what the door has written to the file at `path`; nothing if that is None."""

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = path, now

    def flows(self) -> Mapping[int, Flow]:
        """Return the long transfers that go on, by node."""
        if self._path is None:
            return {}
        try:
            flows = _FLOWS.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}
        now = self._now()
        return {node: flow for node, flow in flows.items() if now - flow.last < ALIVE and flow.last - flow.since > LONG}
