"""Messages between the server's app and its stores, in files: the app's side.

The gateway's side is `server.gateway.exchange`. Flower's SuperLink needs a dozen requests, of about
10 ms of processor time each, for a message and its answer: with hundreds of stores that takes
minutes a round. So if a gateway stands between stores and SuperLink, it carries the messages
itself: the app writes an order's parts once for all stores, and one line for each store that is to
have it.
"""

import base64
import json
import shutil
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedshelf.common.protocol.probe import announce_size
from fedshelf.common.system.files import write_text
from fedshelf.server.grid.reply_puller import answers, unreadable
from fedshelf.server.ipc import answer_file
from fedshelf.server.ipc.run_mailbox import ANSWERS_FOLDER, ORDERS_FILE, PARTS_FOLDER

GONE = 5  # flwr.common.constant.ErrorCode.NODE_UNAVAILABLE, which is private
# bytes of the list of orders; then it is rewritten with the unanswered ones
MAX_ORDER_LIST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class _Sent:
    """An order that is not answered.

    Attributes:
        line: its line of the list
        over: value of time.monotonic() after which nobody waits for the answer
    """

    node_id: int
    line: str
    parts: Collection[str]
    over: float


class Mailbox:
    """Orders and answers in `directory`, which the gateway also uses.

    Files of an earlier app are removed.
    """

    def __init__(self, directory: Path) -> None:
        self._orders = directory / ORDERS_FILE
        self._parts = directory / PARTS_FOLDER
        self._answers = directory / ANSWERS_FOLDER
        self._pending = dict[str, _Sent]()
        self._uses = Counter[str]()  # part -> number of unanswered orders that use it
        self._is_torn = False  # True: the list may end in the middle of a line
        for folder in (self._parts, self._answers):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, parents=True)
        self._begin_list()

    def send(self, content: RecordDict, kind: str, nodes: dict[int, float]) -> list[str | None]:
        """Send the same records to several nodes, and return the ids of the messages.

        `nodes` maps a node's id to the seconds for which the message is of interest.

        All ids are None if the messages could not be written.
        """
        self._forget_late()
        sent = list[str]()
        try:
            with no_object_id_recompute():
                self._write_parts(content)
                sent += [self._order(content, kind, node_id, ttl) for node_id, ttl in nodes.items()]
            self._tell([self._pending[identity].line for identity in sent])
        except OSError:  # a full disk
            self._is_torn = True
            self.forget(sent)
            return [None] * len(nodes)
        return list(sent)

    def take(self, order: str) -> Message | None:
        """Return the answer to an order and remove it; None if it is not complete.

        An unreadable answer is returned as an error message.
        """
        if order not in self._pending:
            return None
        try:
            message_id, pieces = answer_file.read(self._answers / order)
        except OSError:
            return None
        self.forget([order])
        try:
            message = inflate_object_from_contents(message_id, pieces)
        # flwr's, of anything that a store may send: ValueError, KeyError, protobuf's, ...
        except Exception:
            return unreadable(order)
        if not isinstance(message, Message) or not answers(message, {order}):
            return unreadable(order)
        message.metadata.__dict__["_message_id"] = message_id
        return message

    def lost(self, order: str, online: Collection[int]) -> Message | None:
        """Return an error message in place of the answer of a node that is gone, as Flower does.

        The result is None if the node is online or the order is not known.
        """
        if (sent := self._pending.get(order)) is None or sent.node_id in online:
            return None
        question = Message(RecordDict(), sent.node_id, "query")
        question.metadata.__dict__["_message_id"] = order
        self.forget([order])
        return Message(Error(GONE, "not connected"), reply_to=question)

    def forget(self, orders: Iterable[str]) -> None:
        """Drop orders whose answers nobody waits for any more."""
        done = [order for order in orders if order in self._pending]
        for order in done:
            if sent := self._pending.pop(order, None):
                self._uses.subtract(sent.parts)
                for part in [each for each in sent.parts if self._uses[each] <= 0]:
                    del self._uses[part]
                    (self._parts / part).unlink(missing_ok=True)
                (self._answers / order).unlink(missing_ok=True)
        try:
            self._tell([json.dumps({"done": order}) for order in done])
        except OSError:
            self._is_torn = True

    def _write_parts(self, content: RecordDict) -> None:
        for identity, part in get_all_nested_objects(content).items():
            if not (path := self._parts / identity).exists():
                fresh = path.with_suffix(".new")
                fresh.write_bytes(part.deflate())
                fresh.replace(path)

    def _order(self, content: RecordDict, kind: str, node_id: int, ttl: float) -> str:
        """Create the order for one node and return its identity."""
        message = Message(content, node_id, kind, ttl=ttl, group_id=announce_size(content))
        identity = message.metadata.__dict__["_message_id"] = message.object_id
        tree = get_object_tree(message)
        head = PullMessagesResponse(
            messages_list=[message_to_proto(remove_content_from_message(message))],
            message_object_trees=[tree],
        )
        told = {"order": identity, "node": node_id, "over": time.time() + ttl}
        texts = {"head": _text(head.SerializeToString()), "message": _text(message.deflate())}
        parts = {each.object_id for each in iterate_object_tree(tree)} - {identity}
        self._uses.update(parts)
        self._pending[identity] = _Sent(
            node_id, json.dumps(told | texts), parts, time.monotonic() + ttl
        )
        return identity

    def _tell(self, lines: Collection[str]) -> None:
        """Add lines to the list. Raises OSError if not all of it could be written."""
        if not (data := "".join(f"{line}\n" for line in lines)):
            return
        if self._is_torn or self._orders.stat().st_size + len(data) > MAX_ORDER_LIST_BYTES:
            self._begin_list()
            return
        with self._orders.open("a", encoding="ascii") as file:
            file.write(data)

    def _begin_list(self) -> None:
        write_text(self._orders, "".join(f"{sent.line}\n" for sent in self._pending.values()))
        self._is_torn = False

    def _forget_late(self) -> None:
        now = time.monotonic()
        self.forget([order for order, sent in self._pending.items() if sent.over < now])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
