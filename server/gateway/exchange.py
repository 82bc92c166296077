"""Exchange of messages between the server's app and its stores at the gateway: orders out, answers
in.

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
from fedshelf.server.ipc.run_mailbox import ANSWERS_FOLDER, ORDERS, PARTS_FOLDER
from fedshelf.server.results.jsonl_tail import JsonlTail

# seconds, the longest wait of a request for messages: stores and many proxies give up after 30 s
HOLD = 25.0
ORDERS_POLL_SECONDS = 0.05  # seconds between two checks for orders
THREADED_BYTES = 2**18  # size of a part from which it is read or written in a thread

Result = TypeVar("Result")


@dataclass
class _Order:
    """An order for one node.

    over:    Unix time (s) after which it counts no more
    head:    PullMessagesResponse
    message: the message's own part
    is_out:  it was handed out, which happens once
    answer:  identity of the message that answers it, once one is announced; its parts are `pieces`
    missing: pieces that have not come; `writing` of the others are being written
    session: identity of the transfer of these pieces
    """

    node_id: int
    over: float
    head: bytes
    message: bytes
    parts: frozenset[str]
    run_id: int
    is_out: bool = False
    answer: str = ""
    pieces: frozenset[str] = frozenset()
    missing: set[str] = field(default_factory=set)
    writing: int = 0
    session: str = ""


class Exchange:
    """Hands out orders and takes answers, in `directory`. The caller has authenticated the
    nodes.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / ORDERS
        self._parts = directory / PARTS_FOLDER
        self._answers = directory / ANSWERS_FOLDER
        self._orders = dict[str, _Order]()
        self._before = dict[str, _Order]()
        self._of_node = defaultdict[int, dict[str, _Order]](dict)
        self._sessions = dict[str, str]()
        self._waiting = dict[int, asyncio.Event]()
        self._tail = JsonlTail(self._path, self._take, self._forget)
        self._is_over = False

    async def watch(self) -> None:
        """Check for orders until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(ORDERS_POLL_SECONDS)

    @property
    def is_open(self) -> bool:
        """True if an app is running that exchanges its messages here."""
        return self._path.exists()

    def release(self) -> None:
        """Let no request wait any longer, from now on."""
        self._is_over = True
        for event in self._waiting.values():
            event.set()

    async def pull(
        self, node_id: int, is_gone: Callable[[], Awaitable[object]], seconds: float
    ) -> PullMessagesResponse:
        """Return the next order for a node, or none after `seconds`.

        is_gone: returns once the client has disconnected
        """
        if earlier := self._waiting.pop(node_id, None):
            earlier.set()  # its store has given it up
        event = self._waiting[node_id] = asyncio.Event()
        order = self._next(node_id)
        has_gone = False
        if order is None and seconds and not self._is_over:
            waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(is_gone())]
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            has_gone = waits[1].done()
            for wait in waits:
                wait.cancel()
        if self._waiting.get(node_id) is event:
            del self._waiting[node_id]
            order = None if has_gone else self._next(node_id)
        if order is None:
            return PullMessagesResponse()
        order.is_out = True
        head: PullMessagesResponse = PullMessagesResponse.FromString(order.head)
        return head

    async def part(self, node_id: int, request: PullObjectRequest) -> PullObjectResponse | None:
        """Return a part of an order that was handed out to the node; None if it is not one."""
        wanted = request.object_id
        for identity, order in self._of_node[node_id].items():
            if order.is_out and (wanted == identity or wanted in order.parts):
                content = order.message if wanted == identity else await self._read(wanted)
                found = content is not None
                return PullObjectResponse(
                    object_found=found, object_available=found, object_content=content or b""
                )
        return None

    def confirm(
        self, node_id: int, request: ConfirmMessageReceivedRequest
    ) -> ConfirmMessageReceivedResponse | None:
        """Confirm that the node has all parts of an order."""
        return (
            ConfirmMessageReceivedResponse()
            if request.message_object_id in self._of_node[node_id]
            else None
        )

    def announce(self, node_id: int, request: PushMessagesRequest) -> PushMessagesResponse | None:
        """Accept the announcement of the node's answer to an order; return the pieces to be
        sent.
        """
        about = request.messages_list[0].metadata
        tree = request.message_object_trees[0]
        order = self._of_node[node_id].get(about.reply_to_message_id)
        pieces = _pieces(tree)
        if order is None or not order.is_out or about.run_id != order.run_id:
            return None
        if not all(map(answer_file.is_identity, pieces)):
            return None
        if order.answer != tree.object_id:
            try:
                self._begin(about.reply_to_message_id, order, tree.object_id, pieces)
            except OSError:
                self._drop(order)
                return None
        lacking = sorted(order.missing)
        return PushMessagesResponse(
            results={tree.object_id: 0}, objects_to_push=lacking, session_id=order.session
        )

    async def take(self, node_id: int, request: PushObjectRequest) -> PushObjectResponse | None:
        """Store a piece of an answer."""
        identity = self._sessions.get(request.session_id, "")
        if (order := self._of_node[node_id].get(identity)) is None:
            return None
        piece = request.object_id
        content = request.object_content
        if piece not in order.missing:
            return PushObjectResponse(stored=piece in order.pieces)
        order.missing.discard(piece)
        order.writing += 1
        path = self._answers / f"{identity}.part"
        session = order.session
        try:
            is_good = await _maybe_in_thread(
                len(content), lambda: answer_file.add(path, piece, content)
            )
        except OSError:  # a full disk, or the app has started again: all pieces have to come again
            self._drop(order)
            return PushObjectResponse(stored=False)
        if order.session != session:  # the answer was announced anew meanwhile
            return PushObjectResponse(stored=False)
        order.writing -= 1
        if not is_good:
            order.missing.add(piece)
        elif not order.missing and not order.writing:
            path.replace(self._answers / identity)
        return PushObjectResponse(stored=is_good)

    def _begin(self, identity: str, order: _Order, answer: str, pieces: frozenset[str]) -> None:
        self._drop(order)
        answer_file.begin(self._answers / f"{identity}.part", answer)
        order.answer = answer
        order.pieces = pieces
        order.missing = set(pieces)
        order.session = secrets.token_hex(16)
        self._sessions[order.session] = identity

    def _drop(self, order: _Order) -> None:
        self._sessions.pop(order.session, None)
        order.answer = ""
        order.session = ""
        order.pieces = frozenset()
        order.missing = set()
        order.writing = 0

    async def _read(self, part: str) -> bytes | None:
        path = self._parts / part
        try:
            return await _maybe_in_thread(path.stat().st_size, path.read_bytes)
        except OSError:
            return None

    def _next(self, node_id: int) -> _Order | None:
        now = time.time()
        waiting = (
            order
            for order in self._of_node[node_id].values()
            if not order.is_out and order.over > now
        )
        return next(waiting, None)

    def _look(self) -> None:
        """Read the list that the app has written."""
        with suppress(OSError):
            self._tail.look()
        for identity, order in self._before.items():
            self._end(identity, order)
        self._before = {}

    def _take(self, line: dict[str, Any]) -> None:
        if isinstance(done := line.get("done"), str):
            if over := self._orders.get(done):
                self._end(done, over)
            return
        identity = str(line.get("order", ""))
        try:
            order = (
                self._before.pop(identity)
                if identity in self._before
                else self._new(identity, line)
            )
        # damaged: treated as missing
        except (KeyError, IndexError, ValueError, TypeError, DecodeError):
            return
        self._orders[identity] = order
        self._of_node[order.node_id][identity] = order
        if not order.is_out and (event := self._waiting.get(order.node_id)):
            event.set()

    def _new(self, identity: str, line: dict[str, Any]) -> _Order:
        head = base64.b64decode(line["head"])
        told = PullMessagesResponse.FromString(head)
        parts = _pieces(told.message_object_trees[0])
        run_id = told.messages_list[0].metadata.run_id
        order = _Order(
            int(line["node"]),
            float(line["over"]),
            head,
            base64.b64decode(line["message"]),
            parts,
            run_id,
        )
        # handed out by an earlier gateway process
        order.is_out = (self._answers / identity).exists()
        return order

    def _forget(self) -> None:
        """Start a new list; orders that are in both keep their state."""
        self._before = self._before | self._orders
        self._orders = {}
        self._of_node.clear()

    def _end(self, identity: str, order: _Order) -> None:
        self._drop(order)
        self._orders.pop(identity, None)
        self._of_node[order.node_id].pop(identity, None)
        with suppress(OSError):
            (self._answers / f"{identity}.part").unlink(missing_ok=True)


def _pieces(tree: ObjectTree) -> frozenset[str]:
    """Return the identities of all objects of a message."""
    found = set[str]()
    waiting = [tree]
    while waiting:
        found.add((each := waiting.pop()).object_id)
        waiting.extend(each.children)
    return frozenset(found)


async def _maybe_in_thread(size: int, work: Callable[[], Result]) -> Result:
    """Do work on `size` bytes, in a thread if they are many, so that others need not wait."""
    return await run_in_threadpool(work) if size > THREADED_BYTES else work()
