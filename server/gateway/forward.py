"""Forwarding of stores' calls to the SuperLink behind the gateway, with a record of the messages
that pass.
"""

import httpx
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from starlette.datastructures import State
from starlette.requests import Request
from starlette.responses import Response

from fedshelf.common.protocol.enrolment import HELD_HEADER
from fedshelf.server.credentials.authorizer import KEY_HEADER
from fedshelf.server.gateway.bounded_http import MAX_BODY_BYTES
from fedshelf.server.gateway.exchange import HOLD_SECONDS
from fedshelf.server.gateway.fleet_calls import (
    ACTIVATE_PATH,
    PULL_PATH,
    PULL_PIECE_PATH,
    PUSH_PATH,
    PUSH_PIECE_PATH,
    activate,
    gateway_answer,
    is_flower_client,
)

FORWARDED_HEADERS = {b"content-type", b"accept"}  # and those whose names begin so:
FLOWER_HEADER_PREFIX = b"flwr-"
_HOP_BY_HOP = {  # RFC 9110, section 7.6.1: they concern one connection; the last four are set anew
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"host", b"content-length", b"content-encoding", b"date",
}  # fmt: skip


async def forward(request: Request) -> Response:
    """Return the answer to a permitted call: the gateway's own, or the SuperLink's."""
    path = request.url.path
    state = request.app.state
    key = request.headers.get(KEY_HEADER, "")
    body = await limited_body(request, MAX_BODY_BYTES, key if path == PUSH_PIECE_PATH else "")
    if body is None:
        return Response(status_code=413)
    # before Flower parses it: one request could keep it busy for seconds
    if path == PUSH_PATH and (fault := state.push_inspector.fault(body)):
        if state.authorizer:
            state.authorizer.log.tell(address_of(request), fault)
        return Response(status_code=422)
    client: httpx.AsyncClient = state.client
    headers = list(
        {
            name: value for name, value in reversed(request.headers.raw) if _is_forwarded(name)
        }.items()
    )
    try:
        if (own_answer := await gateway_answer(request, path, body, headers)) is not None:
            content = own_answer.SerializeToString()
            _record_messages(state, path, key, body, content)
            hold_headers = (
                {HELD_HEADER: f"{HOLD_SECONDS:g}"}
                if path == PULL_PATH and is_flower_client(request)
                else {}
            )
            return Response(content, media_type=PROTOBUF_MEDIA_TYPE, headers=hold_headers)
        if path == ACTIVATE_PATH:
            answer = await activate(request, body, headers)
        else:
            answer = await client.post(path, content=body, headers=headers)
    except httpx.TimeoutException:
        return Response(status_code=504)
    except httpx.TransportError:
        return Response(status_code=503)
    if answer.status_code == httpx.codes.OK:
        _record_messages(state, path, key, body, answer.content)
    kept_headers = [
        (name.lower(), value)
        for name, value in answer.headers.raw
        if name.lower() not in _HOP_BY_HOP
    ]
    response = Response(answer.content, status_code=answer.status_code)
    response.raw_headers = [(b"content-length", str(len(answer.content)).encode()), *kept_headers]
    return response


def _is_forwarded(header: bytes) -> bool:
    """Return whether the SuperLink gets the header with this name (lower case).

    Of several headers with one name it gets the first.
    """
    return header in FORWARDED_HEADERS or header.startswith(FLOWER_HEADER_PREFIX)


def _record_messages(state: State, path: str, key: str, body: bytes, answer: bytes) -> None:
    """Record which messages were handed out, announced or received."""
    if path == PULL_PATH:
        state.push_inspector.record_orders(answer)
        state.traffic.handed_out(key, body, answer)
    elif path == PUSH_PATH:
        state.uploads.announced(body, answer)
        state.traffic.announced(key, body)
    elif path == PUSH_PIECE_PATH:
        state.uploads.arrived(body, answer)
    elif path == PULL_PIECE_PATH:
        state.traffic.count(key, "down", len(answer))


async def limited_body(request: Request, max_bytes: int, sender: str = "") -> bytes | None:
    """Return the body of a request; a body declared as too large is not read at all.

    Args:
        request:   the request
        max_bytes: largest allowed body
        sender:    key of the store that sends a piece of an answer: its bytes are counted as they
            come; empty: not counted

    Returns:
        The body, or None if it is larger than `max_bytes`.
    """
    if (
        int(request.headers.get("content-length", "0")) > max_bytes
    ):  # the parser accepts only digits
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            return None
        if sender:
            request.app.state.traffic.count(sender, "up", len(part))
    return bytes(body)


def address_of(request: Request) -> str:
    """Return the address that a request came from, for the log."""
    return request.client.host if request.client else "unknown"
