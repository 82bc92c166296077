"""Record of answers that are on their way or complete: the gateway writes it for the server's app.

Flower's grid starts to pull an answer as soon as it is announced. While pieces of it are still on
their way, it waits for them in steps of a second or more, for up to two hours if the store died
half-way, and all other pulls wait, too. The gateway sees the first and the last piece arrive, so
the app pulls only complete answers.
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
    # max size (bytes); then the file is truncated. A reader that missed lines falls back to polling
    # all answers.
)
# answers that are tracked at the same time; stores that break off leave entries behind
MOST_UNDERWAY = 4096
MAX_REMEMBERED_UPLOADS = 2**14  # begun answers, and complete ones until the app asks for them
_MESSAGE_ID_PATTERN = re.compile(r"[0-9a-f]{64}")


class UploadLogWriter:
    """Tracks incoming answers, and writes a line when one begins and one when it is complete.

    Each line of the file at `path` names the order. If lines are missing (the gateway died
    meanwhile, or the disk is full), the app finds the answers when it polls for all.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0
        self._missing = OrderedDict[str, tuple[str, set[str]]]()
        self._path.unlink(missing_ok=True)

    def announced(self, request: bytes, reply: bytes) -> None:
        """Record that the SuperLink has taken the announcement `request` of one answer.

        Args:
            reply: the SuperLink's, which lists the pieces to send
        """
        with suppress(DecodeError):
            about = PushMessagesRequest.FromString(request)
            granted = PushMessagesResponse.FromString(reply)
            order = about.messages_list[0].metadata.reply_to_message_id
            self._missing[granted.session_id] = order, set(granted.objects_to_push)
            while len(self._missing) > MOST_UNDERWAY:
                self._missing.popitem(last=False)
            if not self._settle(granted.session_id):
                self._tell({"begun": order})

    def arrived(self, request: bytes, reply: bytes) -> None:
        """Record the SuperLink's reply to `request`, a piece of an answer."""
        with suppress(DecodeError):
            if PushObjectResponse.FromString(reply).stored:
                piece = PushObjectRequest.FromString(request)
                self._missing.get(piece.session_id, ("", set[str]()))[1].discard(piece.object_id)
                self._settle(piece.session_id)

    def _settle(self, session: str) -> bool:
        """Write the line of the answer if it is complete, and return whether it is."""
        order, missing = self._missing.get(session, ("", {session}))
        if missing:
            return False
        del self._missing[session]
        self._tell({"complete": order})
        return True

    def _tell(self, what: dict[str, str]) -> None:
        if not all(map(_MESSAGE_ID_PATTERN.fullmatch, what.values())):
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
        if written < len(line):  # an answer whose end cannot be recorded must not be waited for
            self._begin_anew()

    def _begin_anew(self) -> None:
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self._written = 0


class UploadLogReader:
    """Reads the file at `path` that the gateway writes; None: there is nothing to read."""

    def __init__(self, path: Path | None) -> None:
        self._complete = OrderedDict[str, None]()
        self._begun = OrderedDict[str, None]()
        self._tail = JsonlTail(path, self._take, self._begun.clear) if path else None

    def complete(self, orders: Container[str]) -> set[str]:
        """Return those of the orders whose answers have become complete since the last call."""
        self._look()
        complete = {order for order in self._complete if order in orders}
        for order in complete:
            del self._complete[order]
        return complete

    def begun(self, orders: Container[str]) -> set[str]:
        """Return the orders whose answers have begun to arrive and are not complete.

        They are known as far as recorded.
        """
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
