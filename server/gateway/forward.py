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
from fedshelf.server.gateway.bounded_http import LARGEST_BODY
from fedshelf.server.gateway.exchange import HOLD
from fedshelf.server.gateway.fleet_calls import (
    ACTIVATE,
    PULL,
    PULL_PIECE,
    PUSH,
    PUSH_PIECE,
    activate,
    is_ours,
    own_answer,
)

PASSED_HEADERS = {b"content-type", b"accept"}  # and those whose names begin so:
FLOWERS = b"flwr-"
_HOP_BY_HOP = {  # RFC 9110, section 7.6.1: they concern one connection; the last four are set anew
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"host", b"content-length", b"content-encoding", b"date",
}  # fmt: skip


async def forward(request: Request) -> Response:
    """Return the answer to a permitted call: the gateway's own, or the SuperLink's."""
    path = request.url.path
    state = request.app.state
    key = request.headers.get(KEY_HEADER, "")
    body = await limited_body(request, LARGEST_BODY, key if path == PUSH_PIECE else "")
    if body is None:
        return Response(status_code=413)
    if path == PUSH and (fault := state.announced.fault(body)):
        if state.guard:
            state.guard.log.tell(address_of(request), fault)
        return Response(status_code=422)
    client: httpx.AsyncClient = state.client
    headers = list(
        {
            name: value for name, value in reversed(request.headers.raw) if _is_passed_on(name)
        }.items()
    )
    try:
        if (own := await own_answer(request, path, body, headers)) is not None:
            content = own.SerializeToString()
            _follow(state, path, key, body, content)
            held = {HELD_HEADER: f"{HOLD:g}"} if path == PULL and is_ours(request) else {}
            return Response(content, media_type=PROTOBUF_MEDIA_TYPE, headers=held)
        if path == ACTIVATE:
            answer = await activate(request, body, headers)
        else:
            answer = await client.post(path, content=body, headers=headers)
    except httpx.TimeoutException:
        return Response(status_code=504)
    except httpx.TransportError:
        return Response(status_code=503)
    if answer.status_code == httpx.codes.OK:
        _follow(state, path, key, body, answer.content)
    kept = [
        (name.lower(), value)
        for name, value in answer.headers.raw
        if name.lower() not in _HOP_BY_HOP
    ]
    response = Response(answer.content, status_code=answer.status_code)
    response.raw_headers = [(b"content-length", str(len(answer.content)).encode()), *kept]
    return response


def _is_passed_on(header: bytes) -> bool:
    """Return whether the SuperLink gets the header with this name (lower case), the first of
    several with one name.
    """
    return header in PASSED_HEADERS or header.startswith(FLOWERS)


def _follow(state: State, path: str, key: str, body: bytes, answer: bytes) -> None:
    """Record which messages the SuperLink has handed out or accepted."""
    if path == PULL:
        state.announced.handed_out(answer)
        state.traffic.handed_out(key, body, answer)
    elif path == PUSH:
        state.uploads.announced(body, answer)
        state.traffic.announced(key, body)
    elif path == PUSH_PIECE:
        state.uploads.arrived(body, answer)
    elif path == PULL_PIECE:
        state.traffic.count(key, "down", len(answer))


async def limited_body(request: Request, largest: int, sender: str = "") -> bytes | None:
    """Return the body, or None if it is larger than `largest` bytes; a body declared as larger is
    not read at all.

    sender: key of the store that sends a piece of an answer; its bytes are counted as they come
    """
    if int(request.headers.get("content-length", "0")) > largest:  # the parser accepts only digits
        return None
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > largest:
            return None
        if sender:
            request.app.state.traffic.count(sender, "up", len(part))
    return bytes(body)


def address_of(request: Request) -> str:
    """Return the address that a request came from, for the log."""
    return request.client.host if request.client else "unknown"
