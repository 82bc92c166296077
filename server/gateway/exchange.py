"""Exchange of messages between the server's app and its stores: orders out, answers in.

    app --- orders.jsonl, parts/ ---> Exchange --- pull-messages, pull-object ---> store
    app <-- answers/ ---------------- Exchange <-- push-messages, push-object ---- store

The gateway speaks the part of Flower's Fleet API that is about messages, for orders that
`server.grid.mailbox` has written. A store that asks for messages is answered once there is one, or
after a while. Calls about anything else (there is another app, or none) are left to Flower's
SuperLink, by the answer None.
"""

import asyncio
import base64
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    ObjectTree,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool

from fedshelf.server.ipc import answer_file
from fedshelf.server.ipc.run_mailbox import ANSWERS_FOLDER, ORDERS_FILE, PARTS_FOLDER
from fedshelf.server.results.jsonl_tail import JsonlTail

# longest wait of a request for messages: stores and many proxies give up after 30 s
HOLD_SECONDS = 25.0
ORDERS_POLL_SECONDS = 0.05
MIN_THREADED_BYTES = 2**18  # size of a part from which it is read or written in a thread

Result = TypeVar("Result")


@dataclass
class _Order:
    """An order for one node.

    Attributes:
        node_id:       Flower's id of the node
        expires_at:    Unix time (s) after which the order is not handed out any more
        head:          serialized PullMessagesResponse
        message:       content of the message's own object
        parts:         ids of the objects that the message consists of
        run_id:        Flower's id of the run
        is_handed_out: True once it was handed out, which happens once
        answer_id:     id of the message that answers it, once one is announced; empty before
        pieces:        ids of the objects of that answer
        missing:       pieces that have not come
        writing_count: pieces that have come and are being written
        session_id:    id of the transfer of these pieces
    """

    node_id: int
    expires_at: float
    head: bytes
    message: bytes
    parts: frozenset[str]
    run_id: int
    is_handed_out: bool = False
    answer_id: str = ""
    pieces: frozenset[str] = frozenset()
    missing: set[str] = field(default_factory=set)
    writing_count: int = 0
    session_id: str = ""


class Exchange:
    """Hands out orders and takes in answers; the caller has authenticated the nodes.

    Args:
        directory: folder of Flower's files in the run directory, shared with the app
    """

    def __init__(self, directory: Path) -> None:
        self._orders_file = directory / ORDERS_FILE
        self._parts_folder = directory / PARTS_FOLDER
        self._answers_folder = directory / ANSWERS_FOLDER
        self._orders = dict[str, _Order]()
        self._previous_orders = dict[str, _Order]()
        self._node_orders = defaultdict[int, dict[str, _Order]](dict)
        self._sessions = dict[str, str]()
        self._wake_events = dict[int, asyncio.Event]()
        self._orders_tail = JsonlTail(self._orders_file, self._read_line, self._start_new_list)
        self._is_released = False

    async def watch(self) -> None:
        """Check for new orders until cancelled."""
        while True:
            self._read_orders()
            await asyncio.sleep(ORDERS_POLL_SECONDS)

    @property
    def is_open(self) -> bool:
        """True if an app is running that exchanges its messages here."""
        return self._orders_file.exists()

    def release(self) -> None:
        """Let no request wait any longer, from now on."""
        self._is_released = True
        for event in self._wake_events.values():
            event.set()

    async def pull(
        self, node_id: int, is_gone: Callable[[], Awaitable[object]], seconds: float
    ) -> PullMessagesResponse:
        """Return the next order for a node; an empty response if there is none in time.

        Args:
            node_id: Flower's id of the node
            is_gone: function that returns once the client has disconnected
            seconds: longest wait for an order
        """
        if superseded := self._wake_events.pop(node_id, None):
            superseded.set()  # its store has given it up
        event = self._wake_events[node_id] = asyncio.Event()
        order = self._next_order(node_id)
        has_gone = False
        if order is None and seconds and not self._is_released:
            waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(is_gone())]
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            has_gone = waits[1].done()
            for wait in waits:
                wait.cancel()
        if self._wake_events.get(node_id) is event:
            # else a newer request of this store has taken the place of this one, and gets the order
            del self._wake_events[node_id]
            order = None if has_gone else self._next_order(node_id)
        if order is None:
            return PullMessagesResponse()
        # once: if this response is lost, the app finds the order missing and sends another
        order.is_handed_out = True
        head: PullMessagesResponse = PullMessagesResponse.FromString(order.head)
        return head

    async def pull_part(
        self, node_id: int, request: PullObjectRequest
    ) -> PullObjectResponse | None:
        """Return a part of an order that was handed out to the node; None if it is no such part."""
        object_id = request.object_id
        for order_id, order in self._node_orders[node_id].items():
            if order.is_handed_out and (object_id == order_id or object_id in order.parts):
                content = (
                    order.message if object_id == order_id else await self._read_part(object_id)
                )
                is_found = content is not None
                return PullObjectResponse(
                    object_found=is_found, object_available=is_found, object_content=content or b""
                )
        return None

    def confirm(
        self, node_id: int, request: ConfirmMessageReceivedRequest
    ) -> ConfirmMessageReceivedResponse | None:
        """Confirm that the node has all parts of an order; None if the order is not its own."""
        return (
            ConfirmMessageReceivedResponse()
            if request.message_object_id in self._node_orders[node_id]
            else None
        )

    def announce(self, node_id: int, request: PushMessagesRequest) -> PushMessagesResponse | None:
        """Accept the announcement of the node's answer to an order.

        Returns:
            The list of pieces that the node has to send; None if no order of this exchange is
            answered.
        """
        metadata = request.messages_list[0].metadata
        tree = request.message_object_trees[0]
        order = self._node_orders[node_id].get(metadata.reply_to_message_id)
        pieces = _object_ids(tree)
        if order is None or not order.is_handed_out or metadata.run_id != order.run_id:
            return None
        if not all(map(answer_file.is_identity, pieces)):
            return None
        # an announcement that is repeated goes on with the pieces that have come
        if order.answer_id != tree.object_id:
            try:
                self._begin_answer(metadata.reply_to_message_id, order, tree.object_id, pieces)
            except OSError:
                self._drop_answer(order)
                return None
        missing_pieces = sorted(order.missing)
        return PushMessagesResponse(
            results={tree.object_id: 0}, objects_to_push=missing_pieces, session_id=order.session_id
        )

    async def store_piece(
        self, node_id: int, request: PushObjectRequest
    ) -> PushObjectResponse | None:
        """Store a piece of an answer; None if the answer was not announced here."""
        order_id = self._sessions.get(request.session_id, "")
        if (order := self._node_orders[node_id].get(order_id)) is None:
            return None
        piece = request.object_id
        content = request.object_content
        if piece not in order.missing:
            return PushObjectResponse(stored=piece in order.pieces)
        # before the write, which may wait: the same piece may come a second time meanwhile
        order.missing.discard(piece)
        order.writing_count += 1
        path = self._answers_folder / f"{order_id}.part"
        session_id = order.session_id
        try:
            is_good = await _run_in_thread_if_large(
                len(content), lambda: answer_file.add(path, piece, content)
            )
        except OSError:  # a full disk, or the app has started again: all pieces have to come again
            self._drop_answer(order)
            return PushObjectResponse(stored=False)
        if order.session_id != session_id:  # the answer was announced anew meanwhile
            return PushObjectResponse(stored=False)
        order.writing_count -= 1
        if not is_good:
            order.missing.add(piece)
        elif not order.missing and not order.writing_count:
            # renamed when it is whole: the app never reads half an answer
            path.replace(self._answers_folder / order_id)
        return PushObjectResponse(stored=is_good)

    def _begin_answer(
        self, order_id: str, order: _Order, answer_id: str, pieces: frozenset[str]
    ) -> None:
        self._drop_answer(order)
        answer_file.begin(self._answers_folder / f"{order_id}.part", answer_id)
        order.answer_id = answer_id
        order.pieces = pieces
        order.missing = set(pieces)
        order.session_id = secrets.token_hex(16)
        self._sessions[order.session_id] = order_id

    def _drop_answer(self, order: _Order) -> None:
        self._sessions.pop(order.session_id, None)
        order.answer_id = ""
        order.session_id = ""
        order.pieces = frozenset()
        order.missing = set()
        order.writing_count = 0

    async def _read_part(self, part: str) -> bytes | None:
        path = self._parts_folder / part
        try:
            return await _run_in_thread_if_large(path.stat().st_size, path.read_bytes)
        except OSError:
            return None

    def _next_order(self, node_id: int) -> _Order | None:
        now = time.time()
        waiting = (
            order
            for order in self._node_orders[node_id].values()
            if not order.is_handed_out and order.expires_at > now
        )
        return next(waiting, None)

    def _read_orders(self) -> None:
        """Read the new lines of the list that the app writes."""
        with suppress(OSError):
            self._orders_tail.look()
        # the new list is complete now: what it does not have is over
        for order_id, order in self._previous_orders.items():
            self._end_order(order_id, order)
        self._previous_orders = {}

    def _read_line(self, line: dict[str, Any]) -> None:
        if isinstance(done_id := line.get("done"), str):
            if done_order := self._orders.get(done_id):
                self._end_order(done_id, done_order)
            return
        order_id = str(line.get("order", ""))
        try:
            order = (
                self._previous_orders.pop(order_id)
                if order_id in self._previous_orders
                else self._new_order(order_id, line)
            )
        # damaged: treated as missing
        except (KeyError, IndexError, ValueError, TypeError, DecodeError):
            return
        self._orders[order_id] = order
        self._node_orders[order.node_id][order_id] = order
        if not order.is_handed_out and (event := self._wake_events.get(order.node_id)):
            event.set()

    def _new_order(self, order_id: str, line: dict[str, Any]) -> _Order:
        head = base64.b64decode(line["head"])
        response = PullMessagesResponse.FromString(head)
        parts = _object_ids(response.message_object_trees[0])
        run_id = response.messages_list[0].metadata.run_id
        order = _Order(
            int(line["node"]),
            float(line["over"]),
            head,
            base64.b64decode(line["message"]),
            parts,
            run_id,
        )
        # handed out by an earlier gateway process
        order.is_handed_out = (self._answers_folder / order_id).exists()
        return order

    def _start_new_list(self) -> None:
        """Start a new list; orders that are in both lists keep their state."""
        self._previous_orders = self._previous_orders | self._orders
        self._orders = {}
        self._node_orders.clear()

    def _end_order(self, order_id: str, order: _Order) -> None:
        self._drop_answer(order)
        self._orders.pop(order_id, None)
        self._node_orders[order.node_id].pop(order_id, None)
        with suppress(OSError):
            (self._answers_folder / f"{order_id}.part").unlink(missing_ok=True)


def _object_ids(tree: ObjectTree) -> frozenset[str]:
    """Return the ids of all objects of a message."""
    object_ids = set[str]()
    waiting = [tree]
    while waiting:
        object_ids.add((subtree := waiting.pop()).object_id)
        waiting.extend(subtree.children)
    return frozenset(object_ids)


async def _run_in_thread_if_large(size: int, work: Callable[[], Result]) -> Result:
    """Do work on `size` bytes, in a thread if they are many: so other requests need not wait."""
    return await run_in_threadpool(work) if size > MIN_THREADED_BYTES else work()
