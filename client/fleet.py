"""A store's line to the server: the Fleet API of Flower's SuperLink, spoken by one long-lived process.

Flower's own SuperNode starts a new Python process for every message, polls every 3 s and runs what
the server ships. This module speaks with the HTTP client that the SuperNode uses, for as long as
the process lives, and never fetches the code that a run ships. (The SuperNode's function
`http_request_response` would be fewer names, but it sends this process a SIGINT when the server was
started afresh, and kills it 5 s after a failed join.)

All private names of flwr in Fedshelf are in this file; `pyproject.toml` pins flwr, and a contract
test holds the line to the stock SuperNode.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self, TypeVar

import httpx
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    iterate_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from client.kit import Credentials, new_key
from client.refusals import NO_CONNECTION, obstacle
from common.errors import NetworkError

HEARTBEAT = 10.0  # seconds, the least that a SuperLink takes; it gives a node up after two
FIRST_RETRY, LONGEST_RETRY = 0.1, 5.0  # seconds between two attempts at a server that does not answer
UPLOADS = 4  # parts of an answer sent at the same time
UPLOAD_WAIT = 0.05  # seconds between two looks for a part of a message that the server's app still uploads
ACTIVATION_WAIT = 0.5  # seconds between two attempts of a store that is not registered yet, or counts as present

LOG = logging.getLogger("fedshelf.store")
Request = TypeVar("Request")
Reply = TypeVar("Reply")


class Narrator(Protocol):
    """Who is told what happens on the line."""

    def joined(self) -> None:
        """The server knows this store and may send orders."""

    def lost(self, reason: str) -> None:
        """The server stopped answering, or does not answer yet; the line keeps trying."""

    def found(self) -> None:
        """The server answers again."""


class UnknownStoreError(Exception):
    """The server does not know this node (any more): it was started afresh."""


class RunOverError(Exception):
    """The run that a message belongs to has ended."""


class Line:
    """One registration of this process with a server, as a context manager.

    Every call waits until the server answers: for ever once joined, until `patience` (a value of
    time.monotonic()) before. Calls raise UnknownStoreError, RunOverError, RefusedError if the server
    does not let this store in (any more), and httpx.HTTPStatusError for any other refusal; joining
    raises NetworkError.
    """

    def __init__(self, credentials: Credentials, narrator: Narrator, patience: float) -> None:
        private_key = credentials.private_key or new_key()
        self._public_key = public_key_to_bytes(private_key.public_key())
        self._is_insecure = credentials.root_certificates is None
        self._client = FleetHttpClient.from_server_address(
            credentials.server,
            insecure=self._is_insecure,
            root_certificates=credentials.root_certificates,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(private_key, private_key.public_key()),
            ],
        )
        self._server, self._narrator, self._patience = credentials.server, narrator, patience
        self._closed = threading.Event()
        self._node = Node()

    @property
    def node_id(self) -> int:
        """What the server calls this registration."""
        return int(self._node.node_id)

    def __enter__(self) -> Self:
        try:
            if self._is_insecure:  # else the server has registered the key of each store that is enrolled
                self._call(self._client.RegisterNode, fleet.RegisterNodeFleetRequest(public_key=self._public_key))
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
        try:  # one attempt each: a server that is not there forgets the node by itself
            self._client.DeactivateNode(fleet.DeactivateNodeRequest(node_id=self.node_id))
            self._client.UnregisterNode(fleet.UnregisterNodeFleetRequest(node_id=self.node_id))
        except (httpx.HTTPError, ValueError):
            pass
        self._client.close()

    def _activate(self) -> int:
        """The node's number, once the server has registered the key and noticed that an earlier process is gone."""
        request = fleet.ActivateNodeRequest(public_key=self._public_key, heartbeat_interval=HEARTBEAT)
        while True:
            try:
                return int(self._call(self._client.ActivateNode, request).node_id)
            except httpx.HTTPStatusError as error:
                if error.response.status_code != 412 or self._is_insecure or time.monotonic() > self._patience:
                    raise
            time.sleep(ACTIVATION_WAIT)

    def receive(self) -> Message | None:
        """The next message for this node, or None if there is none now."""
        reply = self._call(self._client.PullMessages, fleet.PullMessagesRequest(node=self._node))
        if not reply.messages_list:
            return None
        head, tree = message_from_proto(reply.messages_list[0]), reply.message_object_trees[0]
        run_id = head.metadata.run_id
        objects = {each.object_id: self._pull(run_id, each.object_id) for each in iterate_object_tree(tree)}
        confirm = ConfirmMessageReceivedRequest(node=self._node, run_id=run_id, message_object_id=tree.object_id)
        self._call(self._client.ConfirmMessageReceived, confirm)
        try:
            message = inflate_object_from_contents(tree.object_id, objects)
        except (ValueError, KeyError, TypeError, AttributeError):
            message = None
        if not isinstance(message, Message):
            LOG.error("A message from the server cannot be read; it is left out.")
            return None
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def send(self, reply: Message, seconds: float) -> None:
        """Push a reply and its arrays; `seconds` is what the work took."""
        run_id = reply.metadata.run_id
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            objects, tree = get_all_nested_objects(reply), get_object_tree(reply)
            push = fleet.PushMessagesRequest(
                node=self._node,
                messages_list=[message_to_proto(remove_content_from_message(reply))],
                message_object_trees=[tree],
                clientapp_runtime_list=[seconds],
            )
            accepted = self._call(self._client.PushMessages, push)
            parts = [
                PushObjectRequest(
                    node=self._node,
                    run_id=run_id,
                    object_id=object_id,
                    object_content=objects[object_id].deflate(),
                    session_id=accepted.session_id,
                )
                for object_id in accepted.objects_to_push
            ]
        self._push(parts)

    def _push(self, parts: list[PushObjectRequest]) -> None:
        """Upload the parts of a reply, together: a server that finds one missing looks again after a second only."""
        with ThreadPoolExecutor(UPLOADS) as pool:
            done = list(pool.map(self._try_push, parts))
        for part, is_done in zip(parts, done, strict=True):
            if not is_done:
                self._call(self._client.PushObject, part)

    def _try_push(self, part: PushObjectRequest) -> bool:
        """One attempt, which may fail: `_call` is for the main thread, where it can be interrupted."""
        try:
            self._client.PushObject(part)
        except (httpx.TransportError, httpx.HTTPStatusError):
            return False
        return True

    def _pull(self, run_id: int, object_id: str) -> bytes:
        """One part of a message, waited for until the other side has uploaded it."""
        request = PullObjectRequest(node=self._node, run_id=run_id, object_id=object_id)
        while True:
            reply = self._call(self._client.PullObject, request)
            if not reply.object_found:
                raise RunOverError
            if reply.object_available:
                return bytes(reply.object_content)
            time.sleep(UPLOAD_WAIT)

    def _beat(self) -> None:
        """Heartbeats for as long as the line is open, also while the main thread trains."""
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=HEARTBEAT)
        while not self._closed.wait(HEARTBEAT / 2):
            try:
                self._client.SendNodeHeartbeat(request)
            except (httpx.HTTPError, RuntimeError, ValueError):
                continue  # the main thread learns the same from its next call and says so

    def _call(self, method: Callable[[Request], Reply], request: Request) -> Reply:
        """Call the server again and again until it answers; raises what the class says."""
        pause, away = FIRST_RETRY, False
        while True:
            try:
                reply = method(request)
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                reason = _reason(error)
            else:
                if away:
                    self._narrator.found()
                return reply
            if not away:
                self._narrator.lost(reason)
                away = True
            if time.monotonic() > self._patience:
                hint = " Is it running, and is the address right?" if reason == NO_CONNECTION else ""
                raise NetworkError(f"No server at {self._server}: {reason}.{hint}")
            time.sleep(min(pause, max(self._patience - time.monotonic(), 0.0)))
            pause = min(2 * pause, LONGEST_RETRY)


def _reason(error: httpx.TransportError | httpx.HTTPStatusError) -> str:
    """Why the server does not answer just now; raises if trying again is of no use."""
    if known := obstacle(error):
        return known
    match getattr(getattr(error, "response", None), "status_code", None):
        case 401:
            raise UnknownStoreError from error
        case 403:
            raise RunOverError from error
        case _:
            raise error
