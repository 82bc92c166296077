"""Whose answers have begun to come, and whose are complete: the door sees it and tells the server's app.

Flower's grid takes in an answer as soon as it is announced. While pieces of it are still on their way, it waits for
them in steps of a second and more, for up to two hours if the store died half-way, and whatever else it was asked for
waits, too. The door sees the first piece and the last come, so the app asks for complete answers alone.
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

from fedshelf.server.results.jsonl_tail import JsonlTail

MAX_UPLOAD_LOG_BYTES = (
    2**20
)  # bytes of the file: then it begins anew, whoever has not read it by then looks for all answers
MOST_UNDERWAY = 4096  # answers that are followed at the same time; stores that break off leave theirs behind
MAX_REMEMBERED_UPLOADS = 2**14  # answers begun, and complete ones until somebody asks for them
_IDENTITY = re.compile(r"[0-9a-f]{64}")


class UploadLogWriter:
    """Follows answers on their way in. A line of the file at `path` names the order whose answer begins to come, and
    another the one whose answer is complete.

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
            if not self._settle(granted.session_id):
                self._tell({"begun": order})

    def arrived(self, request: bytes, reply: bytes) -> None:
        """The SuperLink has answered so to `request`, a piece of an answer."""
        with suppress(DecodeError):
            if PushObjectResponse.FromString(reply).stored:
                piece = PushObjectRequest.FromString(request)
                self._missing.get(piece.session_id, ("", set[str]()))[1].discard(piece.object_id)
                self._settle(piece.session_id)

    def _settle(self, session: str) -> bool:
        """Tell of the answer if it is complete; whether it is."""
        order, missing = self._missing.get(session, ("", {session}))
        if missing:
            return False
        del self._missing[session]
        self._tell({"complete": order})
        return True

    def _tell(self, what: dict[str, str]) -> None:
        if not all(map(_IDENTITY.fullmatch, what.values())):
            return
        line = json.dumps(what).encode() + b"\n"
        if self._written + len(line) > MAX_UPLOAD_LOG_BYTES:
            self._begin_anew()
        try:
            with self._path.open("ab", buffering=0) as file:
                written = file.write(line)
            self._written += written
        except OSError:
            written = 0
        if written < len(line):  # what has begun and cannot be told to be complete must not be waited for
            self._begin_anew()

    def _begin_anew(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self._written = 0


class UploadLogReader:
    """What the door has told in the file at `path`; nothing if that is None."""

    def __init__(self, path: Path | None) -> None:
        self._complete, self._begun = OrderedDict[str, None](), OrderedDict[str, None]()
        self._tail = JsonlTail(path, self._take, self._begun.clear) if path else None

    def complete(self, orders: Container[str]) -> set[str]:
        """Those of the orders whose answers have become complete since this was asked before."""
        self._look()
        found = {order for order in self._complete if order in orders}
        for order in found:
            del self._complete[order]
        return found

    def begun(self, orders: Container[str]) -> set[str]:
        """Those of the orders whose answers have begun to come and are not complete, as far as the door knows."""
        self._look()
        return {order for order in self._begun if order in orders}

    def _look(self) -> None:
        if self._tail:
            with suppress(OSError):
                self._tail.look()

    def _take(self, line: dict[str, Any]) -> None:
        for kind, orders in (("begun", self._begun), ("complete", self._complete)):
            if isinstance(order := line.get(kind), str):
                self._begun.pop(order, None)
                orders[order] = None
                while len(orders) > MAX_REMEMBERED_UPLOADS:
                    orders.popitem(last=False)
