"""A store's line to the server: the Fleet API of Flower's SuperLink, spoken by one long-lived process.

Flower's own SuperNode starts a new Python process for every message, polls every 3 s and runs what
the server ships. This module speaks with the HTTP client that the SuperNode uses, for as long as
the process lives, and never fetches the code that a run ships. (The SuperNode's function
`http_request_response` would be fewer names, but it sends this process a SIGINT when the server was
started afresh, and kills it 5 s after a failed join.)

All private names of flwr that a store uses are in this file, `client.connection.http`, `client.connection.framing`,
`client.connection.signing` and `client.connection.uploads`; `pyproject.toml` pins flwr, and a contract test holds the
line to the stock SuperNode.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

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
from fedshelf.client.connection.errors import NO_CONNECTION, NOT_FEDSHELF, passing_obstacle
from fedshelf.client.connection.events import ConnectionObserver, RunOverError, UnknownStoreError
from fedshelf.client.connection.framing import (
    MessageHeader,
    OutgoingMessage,
    answer_to,
    heads,
    put_together,
    take_apart,
)
from fedshelf.client.connection.http import connect
from fedshelf.client.connection.polling import PollInterval
from fedshelf.client.connection.response_limits import Take, uncounted
from fedshelf.client.connection.signing import Signer
from fedshelf.client.connection.uploads import LARGE_PIECE, Uploader
from fedshelf.common.errors import MessageError, NetworkError
from fedshelf.common.protocol.transfer_progress import Transfer

HEARTBEAT_SECONDS = 10.0  # seconds, the least that a SuperLink takes; it gives a node up after two
FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0  # seconds between two attempts at a server that does not answer
TRANSFERS = 4  # pieces of a message under way at the same time
MAX_MESSAGE_PIECES = 1024  # of a message: 5 GiB, and memory for no more
UPLOAD_WAIT = 0.05  # seconds between two looks for a part of a message that the server's app still uploads
STALLED = 10.0  # seconds without any part of it, after which the app has died: if not, it asks and sends it again
ACTIVATION_WAIT = 0.5  # seconds between two attempts of a store that is not registered yet, or counts as present
LEAVE_WAIT = 5.0  # seconds that taking leave of a silent server may take

LOG = logging.getLogger("fedshelf.store")
Request = TypeVar("Request")
Reply = TypeVar("Reply")


class FleetConnection:
    """One registration of this process with a server, as a context manager.

    Every call waits until the server answers: for ever once joined, until `patience` (a value of
    time.monotonic()) before. Calls raise UnknownStoreError, RunOverError, RefusedError if the server
    does not let this store in (any more), and httpx.HTTPStatusError for any other refusal; joining
    raises NetworkError.

    take: is called with the bytes of each piece of a message that is about to come in; what it raises, `fetch` raises
    """

    def __init__(
        self, credentials: Credentials, narrator: ConnectionObserver, patience: float, take: Take = uncounted
    ) -> None:
        private_key = credentials.private_key or new_key()
        self._public_key = public_key_to_bytes(private_key.public_key())
        self._is_insecure, self._credentials = credentials.root_certificates is None, credentials
        self._polls = PollInterval()
        self._client = connect(credentials, Signer(private_key), self._polls, HEARTBEAT_SECONDS / 2, take)
        self._server = " or ".join(credentials.known_addresses.all)
        self._narrator, self._patience = narrator, patience
        self._closed, self._lock, self._is_away = threading.Event(), threading.Lock(), False
        self._node = Node()
        self._transfers = ThreadPoolExecutor(TRANSFERS, "transfer")
        self._kept: dict[str, bytes] = {}
        self._came = 0.0  # when the last piece of a message came, in time.monotonic()
        self._uploader = Uploader(self._call, self._client, self._transfers)

    @property
    def node_id(self) -> int:
        """What the server calls this registration."""
        return int(self._node.node_id)

    @property
    def is_held(self) -> bool:
        """Return whether the server answers `receive` as soon as there is a message: waiting before it is in vain."""
        return self._polls.is_held

    def __enter__(self) -> Self:
        try:
            if self._is_insecure:  # else the server has registered the key of each store that is enrolled
                self._register()
            self._node = Node(node_id=self._activate())
        except (httpx.HTTPStatusError, UnknownStoreError, RunOverError) as error:
            status = getattr(getattr(error, "response", None), "status_code", 401)
            raise NetworkError(
                f"{self._server} answers, but not as a Fedshelf server does (HTTP {status}); check the address."
            ) from error
        self._patience = float("inf")
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        self._narrator.joined()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._transfers.shutdown(wait=False, cancel_futures=True)
        leaving = threading.Thread(target=self._take_leave, daemon=True)
        leaving.start()
        leaving.join(LEAVE_WAIT)
        self._client.close()

    def _take_leave(self) -> None:
        """One attempt: a server that is not there forgets the node by itself."""
        with suppress(httpx.HTTPError, ValueError, RuntimeError):
            self._client.DeactivateNode(fleet.DeactivateNodeRequest(node_id=self.node_id))
            self._client.UnregisterNode(fleet.UnregisterNodeFleetRequest(node_id=self.node_id))

    def _register(self) -> None:
        try:
            self._call(self._client.RegisterNode, fleet.RegisterNodeFleetRequest(public_key=self._public_key))
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.PRECONDITION_FAILED:
                raise  # else it is known: by an attempt whose answer was lost, for the key is a new one

    def _activate(self) -> int:
        """The node's number, once the server has registered the key and noticed that an earlier process is gone."""
        request = fleet.ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=HEARTBEAT_SECONDS)
        while True:
            try:
                node_id = int(self._call(self._client.ActivateNode, request).node_id)
                self._credentials.note_node(node_id)
                return node_id
            except httpx.HTTPStatusError as error:
                if error.response.status_code != httpx.codes.PRECONDITION_FAILED or time.monotonic() > self._patience:
                    raise
            with suppress(ValueError, httpx.HTTPError):  # take leave for a process of this store that was killed
                self._client.DeactivateNode(fleet.DeactivateNodeRequest(node_id=self._credentials.noted_node()))
            time.sleep(ACTIVATION_WAIT)

    def receive(self) -> list[MessageHeader]:
        """The messages that have come for this node; the server hands each out once."""
        return heads(self._call(self._client.PullMessages, fleet.PullMessagesRequest(node=self._node)))

    def fetch(self, head: MessageHeader) -> tuple[Message, int]:
        """The message with all its pieces, and their bytes. Raises MessageError if they make none."""
        if len(head.pieces) > MAX_MESSAGE_PIECES:
            raise MessageError(f"A message of {len(head.pieces)} pieces came; expected at most {MAX_MESSAGE_PIECES}.")
        missing = [piece for piece in head.pieces if piece not in self._kept]
        self._came = time.monotonic()
        transfer = Transfer("Receiving a message", 0, LOG.info)
        pulled = self._transfers.map(lambda piece: self._pull(head.run_id, piece, transfer), missing)
        objects = self._kept | dict(zip(missing, pulled, strict=True))
        confirm = ConfirmMessageReceivedRequest(node=self._node, run_id=head.run_id, message_object_id=head.message_id)
        self._call(self._client.ConfirmMessageReceived, confirm)
        objects = {piece: objects[piece] for piece in head.pieces}
        if large := {piece: content for piece, content in objects.items() if len(content) >= LARGE_PIECE}:
            self._kept = large
        return put_together(head, objects), sum(map(len, objects.values()))

    def still_to_come(self, head: MessageHeader) -> int:
        """Bytes of a message, as it was announced, that are not here yet."""
        return max(head.size - sum(len(self._kept[piece]) for piece in head.pieces if piece in self._kept), 0)

    def bundle(self, run_id: int) -> bytes:
        """What the server ships with a run."""
        run = self._call(self._client.GetRun, GetRunRequest(node=self._node, run_id=run_id)).run
        request = GetFabRequest(node=self._node, hash_str=run.fab_hash, run_id=run_id)
        return bytes(self._call(self._client.GetFab, request).fab.content)

    def pack(self, message: Message, content: RecordDict, seconds: float) -> OutgoingMessage:
        """The answer to a message, ready to be sent; `seconds` is what the work took."""
        return take_apart(answer_to(message, content), self._node, seconds)

    def send(self, parcel: OutgoingMessage, is_wanted: Callable[[], bool] = lambda: True) -> None:
        """Send an answer; see `client.connection.uploads`. Raises RunOverError, too, if nobody waits for it any
        more."""
        self._uploader.send(self._node, parcel, is_wanted)

    def _pull(self, run_id: int, object_id: str, transfer: Transfer) -> bytes:
        """One piece of a message, waited for while the other side uploads. Raises MessageError if it has stopped."""
        request = PullObjectRequest(node=self._node, run_id=run_id, object_id=object_id)
        while True:
            reply = self._call(self._client.PullObject, request)
            if not reply.object_found:
                raise RunOverError
            if reply.object_available:
                self._came = time.monotonic()
                transfer.add(len(reply.object_content))
                return bytes(reply.object_content)
            if time.monotonic() - self._came > STALLED:
                raise MessageError("The server announced a message and stopped sending it.")
            time.sleep(UPLOAD_WAIT)

    def _beat(self) -> None:
        """Heartbeats for as long as the line is open, also while the main thread trains."""
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT_SECONDS)
        while not self._closed.wait(HEARTBEAT_SECONDS / 2):
            if self._polls.are_signs_of_life(HEARTBEAT_SECONDS / 2):
                continue
            try:
                self._client.SendNodeHeartbeat(request)
            except (httpx.HTTPError, RuntimeError, ValueError):
                continue  # the main thread learns the same from its next call and says so

    def _call(self, method: Callable[[Request], Reply], request: Request) -> Reply:
        """Call the server again and again until it answers; raises what the class says."""
        pause = FIRST_RETRY
        while not self._closed.is_set():
            try:
                reply = method(request)
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                reason = passing_obstacle(error)
            except (ValueError, httpx.RequestError):  # not protobuf, not what its headers say
                reason = NOT_FEDSHELF
            except RuntimeError:  # httpx: the client was closed under our feet
                break
            else:
                self._tell(None)
                return reply
            self._tell(reason)
            if time.monotonic() > self._patience:
                hint = " Is it running, and is the address right?" if reason == NO_CONNECTION else ""
                raise NetworkError(f"No server at {self._server}: {reason}.{hint}")
            self._closed.wait(min(pause, max(self._patience - time.monotonic(), 0.0)))
            pause = min(2 * pause, LONGEST_RETRY)
        raise UnknownStoreError

    def _tell(self, obstacle: str | None) -> None:
        """Tell that the server is away, or back; once, however many threads find out."""
        with self._lock:
            if self._is_away == (obstacle is not None):
                return
            self._is_away = obstacle is not None
            self._uploader.returns += obstacle is None
        if obstacle is None:
            self._narrator.found()
        else:
            self._narrator.lost(obstacle)
