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
from fedshelf.server.gateway.exchange import HOLD_SECONDS, Exchange
from fedshelf.server.gateway.heartbeats import HEARTBEAT_PATH, Headers, Sender, with_interval

ACTIVATE_PATH = "/v1/fleet/activate-node"
DEACTIVATE_PATH = "/v1/fleet/deactivate-node"
PUSH_PATH = "/v1/fleet/push-messages"
PULL_PATH = "/v1/fleet/pull-messages"
PUSH_PIECE_PATH = "/v1/fleet/push-object"
PULL_PIECE_PATH = "/v1/fleet/pull-object"
CONFIRM_PATH = "/v1/fleet/confirm-message-received"
# longest wait of a store that comes before the SuperLink knows its key
REGISTRATION_TIMEOUT_SECONDS = 20.0
GATEWAY_CALLS: Mapping[str, type[Message]] = {
    HEARTBEAT_PATH: SendNodeHeartbeatRequest,
    PULL_PATH: PullMessagesRequest,
    PULL_PIECE_PATH: PullObjectRequest,
    CONFIRM_PATH: ConfirmMessageReceivedRequest,
    PUSH_PATH: PushMessagesRequest,
    PUSH_PIECE_PATH: PushObjectRequest,
}


async def gateway_answer(
    request: Request, path: str, body: bytes, headers: Headers
) -> Message | None:
    """Return the gateway's own answer to a call.

    Args:
        request: the call
        path:    its path
        body:    its body
        headers: the headers that the SuperLink would get

    Returns:
        The answer, or None if the SuperLink is to answer.
    """
    state = request.app.state
    if path not in GATEWAY_CALLS or (path != HEARTBEAT_PATH and not state.exchange.is_open):
        return None
    try:
        call = GATEWAY_CALLS[path].FromString(body)
    except DecodeError:
        return None
    node_id: int = call.node.node_id
    if not await _is_proven(request, node_id, headers):
        return None
    state.presence.heard(node_id)
    return await _answer(request, node_id, call)


async def _answer(request: Request, node_id: int, call: Message) -> Message | None:
    exchange: Exchange = request.app.state.exchange
    answer: Message | None = None
    match call:
        case SendNodeHeartbeatRequest():
            answer = SendNodeHeartbeatResponse(success=True)
        case PullMessagesRequest():
            answer = await _pull(request, node_id)
        case PullObjectRequest():
            answer = await exchange.pull_part(node_id, call)
        case ConfirmMessageReceivedRequest():
            answer = exchange.confirm(node_id, call)
        case PushMessagesRequest():
            answer = exchange.announce(node_id, call)
        case PushObjectRequest():
            answer = await exchange.store_piece(node_id, call)
    return answer


def is_flower_client(request: Request) -> bool:
    """Return whether a `flower-client` sends the request.

    Flower's own SuperNode is silent while it waits for messages, so its requests are not held.
    """
    return PROCESS_HEADER in request.headers


async def _pull(request: Request, node_id: int) -> Message:
    state = request.app.state
    with state.presence.waiting(node_id):
        answer: Message = await state.exchange.pull(
            node_id, request.receive, HOLD_SECONDS if is_flower_client(request) else 0.0
        )
    return answer


async def _is_proven(request: Request, node_id: int, headers: Headers) -> bool:
    """Return whether the sender is this node; the SuperLink is asked about an unknown one."""
    state = request.app.state
    key = request.headers.get(KEY_HEADER, "")
    connection = request.state.connection
    sender = Sender(key, node_id, headers, is_flower_client(request))
    is_known = node_id == (state.presence.node_of(key) if state.authorizer else connection.node_id)
    if is_known and state.presence.is_known(node_id):
        state.heartbeats.renew(sender)
        return True
    if not await state.heartbeats.is_proven(sender):
        return False
    connection.node_id = node_id
    return True


async def activate(request: Request, body: bytes, headers: Headers) -> httpx.Response:
    """Forward a node's activation, once the SuperLink knows the key of the node's store.

    The SuperLink may count an earlier process of the store as present. Only one process speaks for
    a store, and this one does: so the earlier one is deactivated, and the SuperLink asked again.

    Args:
        request: the call
        body:    its body
        headers: the headers that the SuperLink gets

    Returns:
        The SuperLink's answer; 503 if it does not know the key in time.
    """
    state = request.app.state
    key = request.headers.get(KEY_HEADER, "")
    if state.registered_keys and not await state.registered_keys.wait_for(
        key, REGISTRATION_TIMEOUT_SECONDS
    ):
        return httpx.Response(httpx.codes.SERVICE_UNAVAILABLE)
    body = with_interval(body)
    answer: httpx.Response = await state.client.post(ACTIVATE_PATH, content=body, headers=headers)
    earlier_node_id = state.registered_keys.node_of(key) if state.registered_keys else 0
    is_gone = earlier_node_id and (
        is_flower_client(request) or state.presence.is_silent(earlier_node_id)
    )
    if answer.status_code == httpx.codes.PRECONDITION_FAILED and is_gone:
        deactivation = DeactivateNodeRequest(node_id=earlier_node_id)
        await state.client.post(
            DEACTIVATE_PATH, content=deactivation.SerializeToString(), headers=headers
        )
        answer = await state.client.post(ACTIVATE_PATH, content=body, headers=headers)
    if answer.status_code == httpx.codes.OK:
        state.presence.left(key)
        with suppress(DecodeError):
            node_id = ActivateNodeResponse.FromString(answer.content).node_id
            state.presence.proven(key, node_id, is_ours=is_flower_client(request))
            request.state.connection.node_id = node_id
    return answer
