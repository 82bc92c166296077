"""Calls of Flower's Fleet API that the gateway answers itself: heartbeats, and those about its own
orders.

First the SuperLink has to confirm that the sender is the node that it claims to be: it checks the
signature of each forwarded heartbeat and of each activation. Behind an authorizer, which has
checked a signature on each connection, the confirmation holds for the key; without one, for the
connection.
"""

from collections.abc import Mapping
from contextlib import suppress

import httpx
from flwr.proto.fleet_pb2 import (
    ActivateNodeResponse,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    PullObjectRequest,
    PushObjectRequest,
)
from google.protobuf.message import DecodeError, Message
from starlette.requests import Request

from fedshelf.common.protocol.enrolment import PROCESS_HEADER
from fedshelf.server.credentials.authorizer import KEY_HEADER
from fedshelf.server.gateway.exchange import HOLD, Exchange
from fedshelf.server.gateway.heartbeats import HEARTBEAT_PATH, Headers, Sender, with_interval

ACTIVATE = "/v1/fleet/activate-node"
DEACTIVATE = "/v1/fleet/deactivate-node"
PUSH = "/v1/fleet/push-messages"
PULL = "/v1/fleet/pull-messages"
PUSH_PIECE = "/v1/fleet/push-object"
PULL_PIECE = "/v1/fleet/pull-object"
CONFIRM = "/v1/fleet/confirm-message-received"
# seconds, the longest wait of a store that comes before the SuperLink knows its key
REGISTERING = 20.0
OWN_CALLS: Mapping[str, type[Message]] = {
    HEARTBEAT_PATH: SendNodeHeartbeatRequest,
    PULL: PullMessagesRequest,
    PULL_PIECE: PullObjectRequest,
    CONFIRM: ConfirmMessageReceivedRequest,
    PUSH: PushMessagesRequest,
    PUSH_PIECE: PushObjectRequest,
}


async def own_answer(request: Request, path: str, body: bytes, headers: Headers) -> Message | None:
    """Return the answer to a call, or None if the SuperLink is to answer it.

    headers: those that the SuperLink would get
    """
    state = request.app.state
    if path not in OWN_CALLS or (path != HEARTBEAT_PATH and not state.exchange.is_open):
        return None
    try:
        asked = OWN_CALLS[path].FromString(body)
    except DecodeError:
        return None
    node_id: int = asked.node.node_id
    if not await _is_proven(request, node_id, headers):
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
    """Return whether a `flower-client` is the sender; Flower's own SuperNode is silent while it
    waits for messages.
    """
    return PROCESS_HEADER in request.headers


async def _held(request: Request, node_id: int) -> Message:
    state = request.app.state
    with state.presence.waiting(node_id):
        answer: Message = await state.exchange.pull(
            node_id, request.receive, HOLD if is_ours(request) else 0.0
        )
    return answer


async def _is_proven(request: Request, node_id: int, headers: Headers) -> bool:
    """Return whether the sender is this node; for an unknown one, ask the SuperLink and wait for
    it.
    """
    state, key, connection = (
        request.app.state,
        request.headers.get(KEY_HEADER, ""),
        request.state.connection,
    )
    sender = Sender(key, node_id, headers, is_ours(request))
    is_known = node_id == (state.presence.node_of(key) if state.guard else connection.node)
    if is_known and state.presence.is_known(node_id):
        state.heartbeats.renew(sender)
        return True
    if not await state.heartbeats.is_proven(sender):
        return False
    connection.node = node_id
    return True


async def activate(request: Request, body: bytes, headers: Headers) -> httpx.Response:
    """Return the SuperLink's answer to a node's activation, once the SuperLink knows the key of the
    node's store.

    It may count an earlier process of the store as present. Only one process of ours speaks for a
    store, and this one does: then the earlier one is deactivated, and the SuperLink asked again.
    """
    state = request.app.state
    key = request.headers.get(KEY_HEADER, "")
    if state.registered and not await state.registered.has(key, REGISTERING):
        return httpx.Response(httpx.codes.SERVICE_UNAVAILABLE)
    body = with_interval(body)
    answer: httpx.Response = await state.client.post(ACTIVATE, content=body, headers=headers)
    before = state.registered.node_of(key) if state.registered else 0
    is_gone = before and (is_ours(request) or state.presence.is_silent(before))
    if answer.status_code == httpx.codes.PRECONDITION_FAILED and is_gone:
        leave = DeactivateNodeRequest(node_id=before)
        await state.client.post(DEACTIVATE, content=leave.SerializeToString(), headers=headers)
        answer = await state.client.post(ACTIVATE, content=body, headers=headers)
    if answer.status_code == httpx.codes.OK:
        state.presence.left(key)
        with suppress(DecodeError):
            node_id = ActivateNodeResponse.FromString(answer.content).node_id
            state.presence.proven(key, node_id, is_ours=is_ours(request))
            request.state.connection.node = node_id
    return answer
