"""Uploads of answers: in pieces, and stopped once nobody waits for them.

Otherwise a store whose link was cut for minutes would send the rest of an answer that the server
has given up, and then all of it again for the order that the server has sent in the meantime.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import httpx
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.supernode.fleet_http_client import FleetHttpClient

from fedshelf.client.connection.errors import RunOverError
from fedshelf.client.connection.framing import OutgoingMessage
from fedshelf.common.protocol.enrolment import WANTED_PATH
from fedshelf.common.protocol.transfer_progress import TransferProgress

# bytes; such pieces go one after another, and are kept in case the next message has them, too
LARGE_PIECE_BYTES = 2**20
# seconds of sending after which to ask whether the answer is still wanted
STILL_WANTED_AFTER_SECONDS = 5.0
MAX_SENDS = 20  # times that an answer is sent of which the server says that it lacks pieces

LOG = logging.getLogger("fedshelf.store")
Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Caller(Protocol):
    """Call of the server until it answers; it raises what `client.connection.fleet.FleetConnection`
    says.
    """

    def __call__(self, method: Callable[[Request], Reply], request: Request) -> Reply:
        """Return the server's answer."""


@dataclass
class _Sending:
    """An answer that is being sent.

    Attributes:
        reconnections: Number of reconnections when the server was last known to wait for the
            answer.
        asked_at: When the server was asked last, a value of time.monotonic().
        is_over: Nobody waits for it any more.
    """

    node: Node
    outgoing: OutgoingMessage
    is_wanted: Callable[[], bool]
    reconnections: int
    asked_at: float = field(default_factory=time.monotonic)
    is_over: bool = False

    @property
    def run_id(self) -> int:
        return int(self.outgoing.announcement.messages_list[0].metadata.run_id)

    @property
    def order_id(self) -> str:
        return str(self.outgoing.announcement.messages_list[0].metadata.reply_to_message_id)


class Uploader:
    """Sender of answers.

    Args:
        call: Calls the server until it answers.
        client: Client of the Fleet API.
        pool: Threads that send the pieces.

    Attributes:
        reconnections: Number of times that the server was away and came back; counted by the
            connection.
    """

    def __init__(self, call: Caller, client: FleetHttpClient, pool: ThreadPoolExecutor) -> None:
        self._call = call
        self._client = client
        self._pool = pool
        self.reconnections = 0
        # large pieces go one after another: each gets all of a slow link
        self._large_piece_lock = threading.Lock()

    def send(self, node: Node, outgoing: OutgoingMessage, is_wanted: Callable[[], bool]) -> None:
        """Send an answer; return when the server has all of it, or still lacks pieces after all
        attempts.

        Raises RunOverError if nobody waits for it any more, and what `call` raises.

        Args:
            is_wanted: Returns whether the server may still wait for it, as far as this side knows.
        """
        sending = _Sending(node, outgoing, is_wanted, self.reconnections)
        for _ in range(MAX_SENDS):
            if self._send_once(sending):
                # else the link was cut for minutes, and the server has dropped the pieces that it
                # had
                return
            LOG.info(
                "The server gave up waiting for the rest of the answer; sending the missing pieces."
            )

    def _send_once(self, sending: _Sending) -> bool:
        """Push a reply and the objects that the server lacks; return whether it accepted them
        all.
        """
        outgoing = sending.outgoing
        accepted = self._call(self._client.PushMessages, outgoing.announcement)
        missing = [piece for piece in accepted.objects_to_push if piece in outgoing.objects]
        transfer = TransferProgress(
            "Sending the answer", sum(len(outgoing.objects[piece]) for piece in missing), LOG.info
        )
        session = accepted.session_id
        return all(
            list(
                self._pool.map(
                    lambda piece: self._push_piece(sending, piece, session, transfer), missing
                )
            )
        )

    def _push_piece(
        self, sending: _Sending, object_id: str, session: str, transfer: TransferProgress
    ) -> bool:
        """Send one piece of a reply; return whether the server accepted it.

        Raises RunOverError if it is not wanted.
        """
        content = sending.outgoing.objects[object_id]
        part = PushObjectRequest(
            node=sending.node,
            run_id=sending.run_id,
            object_id=object_id,
            object_content=content,
            session_id=session,
        )
        with self._large_piece_lock if len(content) >= LARGE_PIECE_BYTES else nullcontext():
            # again before each piece: on a slow link an upload outlives its round
            self._check_wanted(sending)
            stored = bool(self._call(self._client.PushObject, part).stored)
        transfer.add(len(content))
        return stored

    def _check_wanted(self, sending: _Sending) -> None:
        """Ask the server, if in doubt, whether it still waits for the answer.

        Raises RunOverError if it does not.
        """
        now = time.monotonic()
        if not sending.is_wanted():
            sending.is_over = True
        elif not sending.is_over and (
            sending.reconnections != self.reconnections
            or now - sending.asked_at > STILL_WANTED_AFTER_SECONDS
        ):
            sending.reconnections = self.reconnections
            sending.asked_at = now
            sending.is_over = not self._server_still_waits(sending)
        if sending.is_over:
            raise RunOverError

    def _server_still_waits(self, sending: _Sending) -> bool:
        """Ask the server's gateway; one that does not know the question waits for every answer."""
        question = ConfirmMessageReceivedRequest(
            node=sending.node, run_id=sending.run_id, message_object_id=sending.order_id
        )
        try:
            self._call(self._ask_if_wanted, question)
        except httpx.HTTPStatusError as error:
            return error.response.status_code != httpx.codes.GONE
        return True

    def _ask_if_wanted(
        self, question: ConfirmMessageReceivedRequest
    ) -> ConfirmMessageReceivedResponse:
        return self._client._unary_unary(
            path=WANTED_PATH,
            rpc_method="",
            request=question,
            response_type=ConfirmMessageReceivedResponse,
        )
