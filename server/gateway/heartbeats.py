"""Heartbeats of stores, forwarded to the SuperLink.

The SuperLink's answer proves that a request comes from the node that it names; and a node without
heartbeats counts as offline.
"""

import asyncio
from dataclasses import dataclass

import httpx
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.node_pb2 import Node
from google.protobuf.message import DecodeError

from fedshelf.server.ipc.presence import INTERVAL, Presence

HEARTBEAT_PATH = "/v1/fleet/send-node-heartbeat"
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Sender:
    """The sender of a store's request: the claimed node and the headers.

    Attributes:
        key:              the header that names its key; may be empty in plain HTTP
        node_id:          the node that it claims to be
        headers:          the headers that the SuperLink gets, the store's signature among them
        is_flower_client: True if a `flower-client` sends it
    """

    key: str
    node_id: int
    headers: Headers
    is_flower_client: bool


class Heartbeats:
    """Forwards heartbeats to the SuperLink, and records in `presence` how it answers them."""

    def __init__(self, client: httpx.AsyncClient, presence: Presence) -> None:
        self._client = client
        self._presence = presence
        self._tasks = set[asyncio.Task[None]]()

    async def is_proven(self, sender: Sender) -> bool:
        """Return whether the SuperLink confirms that the sender is the node that it names."""
        is_node = await self._forward(sender)
        if is_node:
            self._presence.proven(sender.key, sender.node_id, is_ours=sender.is_flower_client)
        return bool(is_node)

    def renew(self, sender: Sender) -> None:
        """Forward a heartbeat of a known node if one is due; nobody waits for its answer."""
        if self._presence.begin_passing(sender.node_id):
            task = asyncio.get_running_loop().create_task(self._renew(sender))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _renew(self, sender: Sender) -> None:
        match await self._forward(sender):
            case True:
                self._presence.passed(sender.node_id)
            case False:  # its next request is checked anew
                self._presence.disproven(sender.node_id)

    async def _forward(self, sender: Sender) -> bool | None:
        """Forward a heartbeat.

        Returns:
            True if the SuperLink knows the sender as this node, False if not; None without an
            answer.
        """
        beat = SendNodeHeartbeatRequest(
            node=Node(node_id=sender.node_id), heartbeat_interval=INTERVAL
        )
        try:
            answer = await self._client.post(
                HEARTBEAT_PATH, content=beat.SerializeToString(), headers=sender.headers
            )
            if answer.is_success:
                return bool(SendNodeHeartbeatResponse.FromString(answer.content).success)
        except (httpx.TransportError, DecodeError):  # it is down, or another server is in its place
            return None
        return None if answer.is_server_error else False


def with_interval(activation: bytes) -> bytes:
    """Return an activation request with the interval of the heartbeats that the SuperLink will get.

    Args:
        activation: serialized ActivateNodeRequest of a store; anything else is returned as it is
    """
    try:
        request = ActivateNodeRequest.FromString(activation)
    except DecodeError:
        return activation
    request.heartbeat_interval = INTERVAL
    changed: bytes = request.SerializeToString()
    return changed
