"""Calls of Flower's Fleet API that the door answers by itself: heartbeats, and those about orders in its hands.

First of all the SuperLink has to say that the sender is the node that it says it is: it checks the signature of each
heartbeat that is passed on. With a guard, which has checked the signature of each connection, that holds for the key;
without, for the connection.
"""

from collections.abc import Mapping

import httpx
from flwr.proto.fleet_pb2 import DeactivateNodeRequest, PullMessagesRequest, PushMessagesRequest
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest, PushObjectRequest
from flwr.proto.node_pb2 import Node
from google.protobuf.message import DecodeError, Message
from starlette.requests import Request

from common.door_words import PROCESS_HEADER
from server.credentials.guard import KEY_HEADER
from server.exchange import HOLD, Exchange
from server.presence import INTERVAL

HEARTBEAT, ACTIVATE, DEACTIVATE = (
    f"/v1/fleet/{call}" for call in ("send-node-heartbeat", "activate-node", "deactivate-node")
)
PUSH, PULL = "/v1/fleet/push-messages", "/v1/fleet/pull-messages"
PIECE, PULL_PIECE = "/v1/fleet/push-object", "/v1/fleet/pull-object"
CONFIRM = "/v1/fleet/confirm-message-received"
OWN: Mapping[str, type[Message]] = {
    HEARTBEAT: SendNodeHeartbeatRequest,
    PULL: PullMessagesRequest,
    PULL_PIECE: PullObjectRequest,
    CONFIRM: ConfirmMessageReceivedRequest,
    PUSH: PushMessagesRequest,
    PIECE: PushObjectRequest,
}
Headers = list[tuple[bytes, bytes]]


async def own_answer(request: Request, path: str, body: bytes, headers: Headers) -> Message | None:
    """The answer to a call, or None if the SuperLink is to answer it. headers: those that it would get."""
    state = request.app.state
    if path not in OWN or (path != HEARTBEAT and not state.exchange.is_open):
        return None
    try:
        asked = OWN[path].FromString(body)
    except DecodeError:
        return None
    node_id: int = asked.node.node_id
    if not await _is_proven(request, path, node_id, headers):
        return None
    state.presence.heard(node_id)
    return await _answer(request, node_id, asked)


async def _answer(request: Request, node_id: int, asked: Message) -> Message | None:
    exchange: Exchange = request.app.state.exchange
    answer: Message | None = None
    match asked:
        case SendNodeHeartbeatRequest():
            answer = SendNodeHeartbeatResponse(success=True)
        case PullMessagesRequest():
            answer = await _held(request, node_id)
        case PullObjectRequest():
            answer = await exchange.part(node_id, asked)
        case ConfirmMessageReceivedRequest():
            answer = exchange.confirm(node_id, asked)
        case PushMessagesRequest():
            answer = exchange.announce(node_id, asked)
        case PushObjectRequest():
            answer = await exchange.take(node_id, asked)
    return answer


def is_ours(request: Request) -> bool:
    """Return whether a `flower-client` sends it: Flower's own SuperNode sends nothing while it waits for messages."""
    return PROCESS_HEADER in request.headers


async def _held(request: Request, node_id: int) -> Message:
    state = request.app.state
    state.presence.heard(node_id, held=1)
    try:
        answer: Message = await state.exchange.pull(node_id, request.receive, HOLD if is_ours(request) else 0.0)
    finally:
        state.presence.heard(node_id, held=-1)
    return answer


async def _is_proven(request: Request, path: str, node_id: int, headers: Headers) -> bool:
    """Return whether the sender is this node; the SuperLink is asked by a heartbeat, and if one is due."""
    state, key, connection = request.app.state, request.headers.get(KEY_HEADER, ""), request.state.connection
    is_known = node_id == (state.presence.node_of(key) if state.guard else connection.node)
    if is_known and not state.presence.is_due(node_id):
        return True
    beat = SendNodeHeartbeatRequest(node=Node(node_id=node_id), heartbeat_interval=INTERVAL)
    try:
        answer = await state.client.post(HEARTBEAT, content=beat.SerializeToString(), headers=headers)
        if answer.status_code != httpx.codes.OK or not SendNodeHeartbeatResponse.FromString(answer.content).success:
            return False
    except (httpx.TransportError, DecodeError):  # it is away: messages go on
        return is_known and path != HEARTBEAT
    state.presence.proven(key, node_id, is_ours=is_ours(request))
    connection.node = node_id
    return True


async def activated(request: Request, answer: httpx.Response, body: bytes, headers: Headers) -> httpx.Response:
    """Return the answer to a node that comes, asking anew if the SuperLink still takes a silent process to be there."""
    state, key = request.app.state, request.headers.get(KEY_HEADER, "")
    before = state.presence.node_of(key)
    if answer.status_code == httpx.codes.PRECONDITION_FAILED and state.guard and state.presence.is_silent(before):
        leave = DeactivateNodeRequest(node_id=before)
        await state.client.post(DEACTIVATE, content=leave.SerializeToString(), headers=headers)
        answer = await state.client.post(ACTIVATE, content=body, headers=headers)
    if answer.status_code == httpx.codes.OK:
        state.presence.left(key)
    return answer
