"""Orders whose answers nobody waits for any more.

The server's app records them, and the gateway tells stores that ask.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from google.protobuf.message import DecodeError

from fedshelf.server.results.jsonl_tail import JsonlTail

# max size (bytes); then the file starts anew, and a store may send an answer in vain
MAX_WITHDRAWALS_BYTES = 2**20
MAX_REMEMBERED_WITHDRAWALS = 2**14  # orders
_MESSAGE_ID_PATTERN = re.compile(r"[0-9a-f]{64}")


class Withdrawals:
    """Writes withdrawn orders for the app to the file at `path`; None: nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def add(self, orders: Iterable[str]) -> None:
        """Record that the answers to these orders will not be used.

        A full disk is no error: the stores then send them in vain.
        """
        lines = "".join(json.dumps({"order": order}) + "\n" for order in orders)
        if self._path is None or not lines:
            return
        with suppress(OSError):
            if (
                self._path.exists()
                and self._path.stat().st_size + len(lines) > MAX_WITHDRAWALS_BYTES
            ):
                self._path.unlink()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(lines)


class Withdrawn:
    """Reads, for the gateway, the withdrawn orders in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._orders = OrderedDict[str, None]()
        self._tail = JsonlTail(path, self._take, lambda: None)

    def has(self, question: bytes) -> bool:
        """Return whether the order that a store asks about is withdrawn.

        Args:
            question: bytes of a ConfirmMessageReceivedRequest
        """
        with suppress(OSError):
            self._tail.look()
        try:
            return (
                ConfirmMessageReceivedRequest.FromString(question).message_object_id in self._orders
            )
        except DecodeError:
            return False

    def _take(self, line: dict[str, Any]) -> None:
        if isinstance(order := line.get("order"), str) and _MESSAGE_ID_PATTERN.fullmatch(order):
            self._orders[order] = None
            while len(self._orders) > MAX_REMEMBERED_WITHDRAWALS:
                self._orders.popitem(last=False)
