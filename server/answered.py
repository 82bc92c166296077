"""Whose answers are complete: the door sees it and tells the server's app, which then asks for these alone.

Flower's grid takes in an answer as soon as it is announced. While pieces of it are still on their way, it waits for
them in steps of a second and more, and whatever else it was asked for waits, too. The door sees the last piece come.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Container
from contextlib import suppress
from pathlib import Path
from typing import Any

from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse
from google.protobuf.message import DecodeError

from server.tail import Tail

LARGEST = 2**20  # bytes of the file: then it begins anew, whoever has not read it by then looks for all answers
MOST_UNDERWAY = 4096  # answers that are followed at the same time; stores that break off leave theirs behind
MOST_UNASKED = 2**14  # complete answers that are remembered until somebody asks for them
_IDENTITY = re.compile(r"[0-9a-f]{64}")


class Uploads:
    """Follows answers on their way in. The order that a complete one answers becomes a line of the file at `path`.

    What is not told (the door died meanwhile, the disk is full) the app finds by its looks for all answers.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, 0
        self._missing = OrderedDict[str, tuple[str, set[str]]]()
        self._path.unlink(missing_ok=True)

    def announced(self, request: bytes, reply: bytes) -> None:
        """The SuperLink has taken the announcement `request` of one answer, and said what of it is to be sent."""
        with suppress(DecodeError):
            about, granted = PushMessagesRequest.FromString(request), PushMessagesResponse.FromString(reply)
            order = about.messages_list[0].metadata.reply_to_message_id
            self._missing[granted.session_id] = order, set(granted.objects_to_push)
            while len(self._missing) > MOST_UNDERWAY:
                self._missing.popitem(last=False)
            self._settle(granted.session_id)

    def arrived(self, request: bytes, reply: bytes) -> None:
        """The SuperLink has answered so to `request`, a piece of an answer."""
        with suppress(DecodeError):
            if PushObjectResponse.FromString(reply).stored:
                piece = PushObjectRequest.FromString(request)
                self._missing.get(piece.session_id, ("", set[str]()))[1].discard(piece.object_id)
                self._settle(piece.session_id)

    def _settle(self, session: str) -> None:
        order, missing = self._missing.get(session, ("", {session}))
        if not missing:
            del self._missing[session]
            if _IDENTITY.fullmatch(order):
                self._tell(json.dumps({"order": order}).encode() + b"\n")

    def _tell(self, line: bytes) -> None:
        with suppress(OSError):
            if self._written + len(line) > LARGEST:
                self._path.unlink(missing_ok=True)
                self._written = 0
            with self._path.open("ab", buffering=0) as file:
                self._written += file.write(line)


class Answered:
    """What the door has told in the file at `path`; nothing if that is None."""

    def __init__(self, path: Path | None) -> None:
        self._orders = OrderedDict[str, None]()
        self._tail = Tail(path, self._take, lambda: None) if path else None

    def among(self, orders: Container[str]) -> set[str]:
        """Those of the orders that have been answered since this was asked before."""
        if self._tail:
            with suppress(OSError):
                self._tail.look()
        found = {order for order in self._orders if order in orders}
        for order in found:
            del self._orders[order]
        return found

    def _take(self, line: dict[str, Any]) -> None:
        if isinstance(order := line.get("order"), str):
            self._orders[order] = None
            while len(self._orders) > MOST_UNASKED:
                self._orders.popitem(last=False)
