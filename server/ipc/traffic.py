"""Long transfers between stores and server, counted in a file.

The gateway writes the file, the server's app reads it.

Heartbeats of a store may be late while an update fills its slow link, but its bytes arrive, so the
store is present. A viewer also sees the progress. Quick transfers are not listed.
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

LONG = 5.0  # seconds after which a transfer is listed ...
FLOWS_WRITE_INTERVAL_SECONDS = 2.0  # ... and between two writes
ALIVE = 15.0  # seconds after its last byte that a sending store counts as present
MAX_FLOWS = 4096  # stores that are followed at the same time


@dataclass
class Flow:
    """A transfer to a node ("down") or from it ("up").

    Attributes:
        bytes: number that has passed so far
        since: Unix time (s) of its begin
        last: Unix time (s) of its last byte
    """

    way: Literal["up", "down"]
    bytes: int
    since: float
    last: float


_FLOWS = TypeAdapter(dict[int, Flow])


class TrafficRecorder:
    """Counts transfers for the gateway, and writes them to the file at `path`.

    A store is identified by the key that it signs with.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._written = 0.0
        self._flows = OrderedDict[str, tuple[int, Flow]]()
        self._path.unlink(missing_ok=True)

    def handed_out(self, key: str, request: bytes, reply: bytes) -> None:
        """Record that the SuperLink has handed out messages; a message's pieces go down next."""
        with suppress(DecodeError):
            if PullMessagesResponse.FromString(reply).messages_list:
                self._begin(key, PullMessagesRequest.FromString(request).node.node_id, "down")

    def announced(self, key: str, request: bytes) -> None:
        """Record that the SuperLink has taken an answer's announcement; its pieces come next."""
        with suppress(DecodeError):
            self._begin(key, PushMessagesRequest.FromString(request).node.node_id, "up")

    def count(self, key: str, way: Literal["up", "down"], size: int) -> None:
        """Count `size` bytes of a piece that have passed."""
        _, flow = self._flows.get(key, (0, None))
        if flow is None or flow.way != way:
            return
        flow.bytes = flow.bytes + size
        flow.last = self._now()
        if (
            flow.last - flow.since > LONG
            and flow.last - self._written > FLOWS_WRITE_INTERVAL_SECONDS
        ):
            self._write()

    def _begin(self, key: str, node_id: int, way: Literal["up", "down"]) -> None:
        now = self._now()
        self._flows[key] = node_id, Flow(way, 0, now, now)
        self._flows.move_to_end(key)
        while len(self._flows) > MAX_FLOWS:
            self._flows.popitem(last=False)

    def _write(self) -> None:
        """Write the long transfers in progress.

        A full disk is no error: only the view of them is lost.
        """
        now = self._written = self._now()
        flows = {
            node: asdict(flow) for node, flow in self._flows.values() if now - flow.last < ALIVE
        }
        fresh = self._path.with_suffix(".new")
        with suppress(OSError):
            fresh.write_text(json.dumps(flows), encoding="utf-8")
            fresh.replace(self._path)


class TrafficReader:
    """Reads, for the app, the file at `path` that the gateway writes.

    If `path` is None, there is nothing to read.
    """

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now

    def flows(self) -> Mapping[int, Flow]:
        """Return the long transfers in progress, by node."""
        if self._path is None:
            return {}
        try:
            flows = _FLOWS.validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return {}
        now = self._now()
        return {
            node: flow
            for node, flow in flows.items()
            if now - flow.last < ALIVE and flow.last - flow.since > LONG
        }
