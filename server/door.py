"""The door: the only way from outside to Flower's SuperLink, and only for what stores need.

A SuperLink serves three APIs on one port. The one for stores (Fleet) authenticates; the one that
starts runs (Control) does not, and a run is code. So the SuperLink listens on loopback, and this
reverse proxy lets through the exact paths of the Fleet API and `/health`, nothing that merely
looks like them. While the SuperLink restarts, it answers 503 and goes on.

    python -m server.door HOST PORT SUPERLINK_PORT
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FLEET_CALLS = (
    "register-node", "activate-node", "deactivate-node", "unregister-node", "send-node-heartbeat",
    "pull-messages", "push-messages", "get-run", "get-fab", "push-object", "pull-object",
    "confirm-message-received",
)  # fmt: skip
PASSED = {f"/v1/fleet/{call}".encode(): "POST" for call in FLEET_CALLS} | {b"/health": "GET"}

LARGEST_BODY = 32 * 2**20  # bytes; Flower cuts arrays into objects of 5 MiB
_TIMEOUT = httpx.Timeout(60.0, connect=2.0)  # seconds
_HOP_BY_HOP = {  # RFC 9110, section 7.6.1: they concern one connection; the last three are set anew
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
    b"transfer-encoding", b"upgrade", b"host", b"content-length", b"content-encoding",
}  # fmt: skip


def make_door(superlink: str) -> Starlette:
    """The proxy as an ASGI app in front of the SuperLink at `superlink` (a URL without path)."""

    @asynccontextmanager
    async def lifespan(door: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=superlink, timeout=_TIMEOUT, trust_env=False) as client:
            door.state.client = client
            yield

    routes = [Route("/{path:path}", _pass, methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])]
    return Starlette(routes=routes, lifespan=lifespan)


async def _pass(request: Request) -> Response:
    """Forward the request if its path, byte for byte as sent, is one that may pass; else 404."""
    path = request.scope["raw_path"]  # not decoded: %2e%2e, //, and other cases of letters are other paths
    if PASSED.get(path) != request.method or request.url.query:
        return Response(status_code=404)
    body = await _limited(request)
    if body is None:
        return Response(status_code=413)
    client: httpx.AsyncClient = request.app.state.client
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in _HOP_BY_HOP]
    try:
        answer = await client.request(request.method, path.decode(), content=body, headers=headers)
    except httpx.TimeoutException:
        return Response(status_code=504)
    except httpx.TransportError:
        return Response(status_code=503)
    kept = [(name.lower(), value) for name, value in answer.headers.raw if name.lower() not in _HOP_BY_HOP]
    response = Response(answer.content, status_code=answer.status_code)
    response.raw_headers = [(b"content-length", str(len(answer.content)).encode()), *kept]
    return response


async def _limited(request: Request) -> bytes | None:
    """The body, or None once it is larger than LARGEST_BODY."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def main() -> None:
    """Serve until terminated."""
    host, port, superlink_port = sys.argv[1:4]
    door = make_door(f"http://127.0.0.1:{superlink_port}")
    uvicorn.run(door, host=host, port=int(port), log_level="warning", server_header=False, lifespan="on")


if __name__ == "__main__":
    main()
