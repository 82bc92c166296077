"""A store's connection to the server: the Fleet API of Flower's SuperLink, in one long-lived
process.

Flower's own SuperNode starts a new Python process for every message, polls every 3 s and runs the
code that the server ships. This module uses the HTTP client of the SuperNode for as long as the
process lives, and never runs the code that a run ships. (The SuperNode's function
`http_request_response` would need fewer private names, but it sends this process a SIGINT when the
server was started afresh, and kills it 5 s after a failed join.)

All private names of flwr that a store uses are in this file, `client.connection.http`,
`client.connection.framing`, `client.connection.signing` and `client.connection.uploads`;
`pyproject.toml` pins flwr, and a contract test compares this connection with the stock SuperNode.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self, TypeVar

import httpx
from flwr.app import Message, RecordDict
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes

from fedshelf.client.connection.credentials import Credentials, new_key
from fedshelf.client.connection.errors import (
    NO_CONNECTION,
    NOT_FEDSHELF,
    RunOverError,
    UnknownStoreError,
    obstacle_or_raise,
)
from fedshelf.client.connection.framing import (
    MessageHeader,
    OutgoingMessage,
    assemble,
    make_reply,
    read_headers,
    split,
)
from fedshelf.client.connection.http import connect
from fedshelf.client.connection.interceptors import PollInterval
from fedshelf.client.connection.response_limits import CountBytes, accept_any_size
from fedshelf.client.connection.signing import Signer
from fedshelf.client.connection.uploads import LARGE_PIECE_BYTES, Uploader
from fedshelf.common.errors import MessageError, NetworkError
from fedshelf.common.protocol.transfer_progress import TransferProgress

# seconds, the least that a SuperLink accepts; it gives a node up after two such intervals
HEARTBEAT_SECONDS = 10.0
# seconds between two attempts at a server that does not answer
FIRST_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 5.0
MAX_PARALLEL_TRANSFERS = 4  # pieces of a message in transfer at the same time
MAX_MESSAGE_PIECES = 1024  # per message: 5 GiB, and memory for no more
# seconds between two requests for a part of a message that the server's app still uploads
UPLOAD_POLL_SECONDS = 0.05
# seconds without any part of it, after which its app counts as dead; a living app sends it again
STALLED_SECONDS = 10.0
# seconds between two attempts while the store is not registered yet, or still counts as present
ACTIVATION_RETRY_SECONDS = 0.5
DEACTIVATION_TIMEOUT_SECONDS = 5.0  # seconds to deregister from a silent server

LOG = logging.getLogger("fedshelf.store")
Request = TypeVar("Request")
Reply = TypeVar("Reply")


class ConnectionObserver(Protocol):
    """Observer of a connection."""

    def on_joined(self) -> None:
        """Note that the server knows this store and may send orders."""

    def on_lost(self, reason: str) -> None:
        """Note that the server stopped answering, or does not answer yet; the connection keeps
        trying.
        """

    def on_restored(self) -> None:
        """Note that the server answers again."""


class FleetConnection:
    """One registration of this process with a server, as a context manager.

    Every call waits until the server answers: for ever once joined; before that until `deadline`.

    Args:
        credentials: The address of the server and the store's key.
        observer: Is told when the store has joined, and when the server is lost or back.
        deadline: A value of time.monotonic() until which the server must have answered first.
        count_bytes: Called with the size in bytes of each piece of a message before it is read;
            `fetch` raises what it raises.

    Raises:
        UnknownStoreError: The server does not know this registration (any more).
        RunOverError: The run of the message has ended.
        RefusedError: The server does not admit this store (any more).
        httpx.HTTPStatusError: The server refuses a request for any other reason.
        NetworkError: On joining: no Fedshelf server has answered in time.
    """

    def __init__(
        self,
        credentials: Credentials,
        observer: ConnectionObserver,
        deadline: float,
        count_bytes: CountBytes = accept_any_size,
    ) -> None:
        private_key = credentials.private_key or new_key()
        self._public_key = public_key_to_bytes(private_key.public_key())
        self._is_insecure = credentials.root_certificates is None
        self._credentials = credentials
        self._polls = PollInterval()
        self._client = connect(
            credentials, Signer(private_key), self._polls, HEARTBEAT_SECONDS / 2, count_bytes
        )
        self._server = " or ".join(credentials.known_addresses.all)
        self._observer = observer
        self._deadline = deadline
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._is_away = False
        self._node = Node()
        self._transfers = ThreadPoolExecutor(MAX_PARALLEL_TRANSFERS, "transfer")
        self._cached_pieces: dict[str, bytes] = {}
        self._last_piece_at = 0.0  # time.monotonic() at which the last piece of a message came
        self._uploader = Uploader(self._call, self._client, self._transfers)

    @property
    def node_id(self) -> int:
        """Flower's node id of this registration."""
        return int(self._node.node_id)

    @property
    def is_held(self) -> bool:
        """True if the server holds `receive` until there is a message, so that pausing before it is
        needless.
        """
        return self._polls.is_held

    def __enter__(self) -> Self:
        try:
            # over TLS the server has registered the key of each enrolled store
            if self._is_insecure:
                self._register()
            self._node = Node(node_id=self._activate())
        except (httpx.HTTPStatusError, UnknownStoreError, RunOverError) as error:
            status = getattr(getattr(error, "response", None), "status_code", 401)
            raise NetworkError(
                f"{self._server} answers, but it is not a Fedshelf server (HTTP {status});"
                " check the address."
            ) from error
        self._deadline = float("inf")
        threading.Thread(target=self._heartbeat_loop, name="heartbeat", daemon=True).start()
        self._observer.on_joined()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._transfers.shutdown(wait=False, cancel_futures=True)
        leaving = threading.Thread(target=self._deactivate, daemon=True)
        leaving.start()
        leaving.join(DEACTIVATION_TIMEOUT_SECONDS)
        self._client.close()

    def _deactivate(self) -> None:
        """Deregister in one attempt: a server that cannot be reached drops the node by itself."""
        with suppress(httpx.HTTPError, ValueError, RuntimeError):
            self._client.DeactivateNode(fleet.DeactivateNodeRequest(node_id=self.node_id))
            self._client.UnregisterNode(fleet.UnregisterNodeFleetRequest(node_id=self.node_id))

    def _register(self) -> None:
        try:
            self._call(
                self._client.RegisterNode,
                fleet.RegisterNodeFleetRequest(public_key=self._public_key),
            )
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.PRECONDITION_FAILED:
                raise  # else the key, which is new, is known from an attempt whose answer was lost

    def _activate(self) -> int:
        """Return the node id, once the server has registered the key and noticed that an earlier
        process is gone.
        """
        request = fleet.ActivateNodeRequest(
            public_key=self._public_key, heartbeat_interval=HEARTBEAT_SECONDS
        )
        while True:
            try:
                node_id = int(self._call(self._client.ActivateNode, request).node_id)
                self._credentials.save_node_id(node_id)
                return node_id
            except httpx.HTTPStatusError as error:
                if (
                    error.response.status_code != httpx.codes.PRECONDITION_FAILED
                    or time.monotonic() > self._deadline
                ):
                    raise
            # deregister a process of this store that was killed
            with suppress(ValueError, httpx.HTTPError):
                self._client.DeactivateNode(
                    fleet.DeactivateNodeRequest(node_id=self._credentials.saved_node_id())
                )
            time.sleep(ACTIVATION_RETRY_SECONDS)

    def receive(self) -> list[MessageHeader]:
        """Return the messages that have come for this node; the server hands each out once."""
        return read_headers(
            self._call(self._client.PullMessages, fleet.PullMessagesRequest(node=self._node))
        )

    def fetch(self, incoming: MessageHeader) -> tuple[Message, int]:
        """Return the message with all its pieces, and the sum of their sizes in bytes.

        Args:
            incoming: The header of the message, as `receive` returned it.

        Raises:
            MessageError: The pieces make no message, or are too many.
        """
        if len(incoming.pieces) > MAX_MESSAGE_PIECES:
            raise MessageError(
                f"A message of {len(incoming.pieces)} pieces came; expected at most"
                f" {MAX_MESSAGE_PIECES}."
            )
        missing = [piece for piece in incoming.pieces if piece not in self._cached_pieces]
        self._last_piece_at = time.monotonic()
        transfer = TransferProgress("Receiving a message", 0, LOG.info)
        pulled = self._transfers.map(
            lambda piece: self._pull_piece(incoming.run_id, piece, transfer), missing
        )
        objects = self._cached_pieces | dict(zip(missing, pulled, strict=True))
        confirm = ConfirmMessageReceivedRequest(
            node=self._node, run_id=incoming.run_id, message_object_id=incoming.message_id
        )
        self._call(self._client.ConfirmMessageReceived, confirm)
        # large pieces are kept until others come: an order that is sent again has the same model
        objects = {piece: objects[piece] for piece in incoming.pieces}
        if large := {
            piece: content
            for piece, content in objects.items()
            if len(content) >= LARGE_PIECE_BYTES
        }:
            self._cached_pieces = large
        return assemble(incoming, objects), sum(map(len, objects.values()))

    def missing_bytes(self, incoming: MessageHeader) -> int:
        """Return the announced bytes of a message that are still at the server."""
        return max(
            incoming.size
            - sum(
                len(self._cached_pieces[piece])
                for piece in incoming.pieces
                if piece in self._cached_pieces
            ),
            0,
        )

    def fetch_app_bundle(self, run_id: int) -> bytes:
        """Return the bundle that the server ships with a run."""
        run = self._call(self._client.GetRun, GetRunRequest(node=self._node, run_id=run_id)).run
        request = GetFabRequest(node=self._node, hash_str=run.fab_hash, run_id=run_id)
        return bytes(self._call(self._client.GetFab, request).fab.content)

    def build_reply(self, message: Message, content: RecordDict, seconds: float) -> OutgoingMessage:
        """Return the answer to a message, ready to be sent.

        Args:
            message: The message that is answered.
            content: The records of the answer.
            seconds: Time (s) that the work took, which the server is told.
        """
        return split(make_reply(message, content), self._node, seconds)

    def send(self, outgoing: OutgoingMessage, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Send an answer, see `client.connection.uploads`.

        Raises RunOverError, too, if nobody waits for it.
        """
        self._uploader.send(self._node, outgoing, is_wanted)

    def _pull_piece(self, run_id: int, object_id: str, transfer: TransferProgress) -> bytes:
        """Return one piece of a message; wait while the other side uploads.

        Raises MessageError if that has stopped.
        """
        request = PullObjectRequest(node=self._node, run_id=run_id, object_id=object_id)
        while True:
            reply = self._call(self._client.PullObject, request)
            if not reply.object_found:
                raise RunOverError
            if reply.object_available:
                self._last_piece_at = time.monotonic()
                transfer.add(len(reply.object_content))
                return bytes(reply.object_content)
            if time.monotonic() - self._last_piece_at > STALLED_SECONDS:
                raise MessageError("The server announced a message and stopped sending it.")
            time.sleep(UPLOAD_POLL_SECONDS)

    def _heartbeat_loop(self) -> None:
        """Send heartbeats for as long as the connection is open, also while the main thread
        trains.
        """
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_SECONDS)
        while not self._closed.wait(HEARTBEAT_SECONDS / 2):
            # a poll says as much as a heartbeat, and costs the server no request more
            if self._polls.proves_liveness(HEARTBEAT_SECONDS / 2):
                continue
            try:
                self._client.SendNodeHeartbeat(request)
            except (httpx.HTTPError, RuntimeError, ValueError):
                continue  # the main thread gets the same error from its next call and reports it

    def _call(self, method: Callable[[Request], Reply], request: Request) -> Reply:
        """Call the server again and again until it answers; raise as the class says."""
        retry_seconds = FIRST_RETRY_SECONDS
        while not self._closed.is_set():
            try:
                reply = method(request)
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                reason = obstacle_or_raise(error)
            except (ValueError, httpx.RequestError):  # not protobuf, or at odds with its headers
                reason = NOT_FEDSHELF
            except RuntimeError:  # httpx: another thread closed the client
                break
            else:
                self._report_state(None)
                return reply
            self._report_state(reason)
            if time.monotonic() > self._deadline:
                hint = (
                    " Is it running, and is the address right?" if reason == NO_CONNECTION else ""
                )
                raise NetworkError(f"No server at {self._server}: {reason}.{hint}")
            self._closed.wait(min(retry_seconds, max(self._deadline - time.monotonic(), 0.0)))
            # quick at first, for a lost packet; slow later, as all stores of a chain wait for one
            # server
            retry_seconds = min(2 * retry_seconds, MAX_RETRY_SECONDS)
        raise UnknownStoreError

    def _report_state(self, obstacle: str | None) -> None:
        """Tell the observer that the server is away, or back; once, however many threads notice."""
        with self._lock:
            if self._is_away == (obstacle is not None):
                return
            self._is_away = obstacle is not None
            self._uploader.reconnections += obstacle is None
        if obstacle is None:
            self._observer.on_restored()
        else:
            self._observer.on_lost(obstacle)
