"""The gateway: the only access from outside to Flower's SuperLink, and only for calls of stores.

    store --TLS--> TlsServer --> BoundedHttp --> _route --+-- /health -----> SuperLinkHealth
                   limits on     limits on       who may  +-- enrolment ---> Authorizer
                   connections   bytes           pass?    +-- messages ----> Exchange
                                                          +-- other calls -> SuperLink (loopback)

A SuperLink serves three APIs on one port. The one for stores (Fleet) authenticates; the one that
starts runs (Control) does not, and a run is code. So the SuperLink listens on loopback, and this
reverse proxy passes the exact paths of the Fleet API and `/health`, and no path that merely looks
like them. With credentials it speaks TLS, asks an authorizer who may pass, and enrols stores.
While the SuperLink restarts, the gateway answers 503 and keeps running. No body is read before its
sender is known to be a store of the chain, except the small ones of stores that enrol or ask for
the classes.

    python -m fedshelf.server.gateway.proxy HOST PORT SUPERLINK_PORT UPLOAD_LOG [CREDENTIALS]

UPLOAD_LOG is the file in which the gateway tells the server's app whose answers are complete
(`server.ipc.upload_log`).
"""

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.address_list import ADDRESSES_HEADER
from fedshelf.common.protocol.enrolment import (
    CLASSES_PATH,
    ENROL_PATH,
    REASON_HEADER,
    WANTED_PATH,
    RefusalReason,
)
from fedshelf.server.credentials.authorizer import KEY_HEADER, TIME_HEADER, Authorizer
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.registered import RegisteredKeys
from fedshelf.server.credentials.rejection_log import RejectionLog
from fedshelf.server.gateway.connections import Connection, ConnectionLimits
from fedshelf.server.gateway.exchange import Exchange
from fedshelf.server.gateway.forward import address_of, forward, limited_body
from fedshelf.server.gateway.heartbeats import Heartbeats
from fedshelf.server.gateway.push_inspection import PushInspector
from fedshelf.server.gateway.tls_server import TlsServer
from fedshelf.server.ipc.presence import Presence
from fedshelf.server.ipc.run_mailbox import PRESENCE, RUN_CLASSES_FILE, TRAFFIC, WITHDRAWN
from fedshelf.server.ipc.traffic import TrafficRecorder
from fedshelf.server.ipc.upload_log import UploadLogWriter
from fedshelf.server.ipc.withdrawals import Withdrawn

FLEET_CALLS = (
    "register-node", "activate-node", "deactivate-node", "unregister-node", "send-node-heartbeat",
    "pull-messages", "push-messages", "get-run", "get-fab", "push-object", "pull-object",
    "confirm-message-received",
)  # fmt: skip
ADDRESS_LIST_PATHS = {  # calls whose answers carry ADDRESSES_HEADER
    f"/v1/fleet/{call}".encode()
    for call in ("activate-node", "send-node-heartbeat", "pull-messages")
}
DEREGISTRATION_PATHS = {b"/v1/fleet/deactivate-node", b"/v1/fleet/unregister-node"}
FLEET_PATHS = {f"/v1/fleet/{call}".encode() for call in FLEET_CALLS}
POLL_PATH = b"/v1/fleet/pull-messages"
HEALTH_PATH = b"/health"
WANTED_PATH_BYTES = WANTED_PATH.encode()

MAX_ENROLMENT_BYTES = 16 * 2**10
MAX_QUESTION_BYTES = 2**10
HEALTH_FRESH_SECONDS = 0.25  # an answer about the SuperLink's health is reused for this long
HEALTH_TIMEOUT_SECONDS = 2.0
_SUPERLINK_TIMEOUT = httpx.Timeout(60.0, connect=2.0)  # seconds


class SuperLinkHealth:
    """Cached health of the SuperLink: any number of questions cause few requests to it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")  # time.monotonic()
        self._is_healthy = False

    async def is_healthy(self) -> bool:
        """Return the SuperLink's answer, at most `HEALTH_FRESH_SECONDS` old."""
        async with self._lock:
            if time.monotonic() - self._asked_at > HEALTH_FRESH_SECONDS:
                self._is_healthy = await self._ask()
                self._asked_at = time.monotonic()
            return self._is_healthy

    async def _ask(self) -> bool:
        try:
            return (await self._client.get("/health", timeout=HEALTH_TIMEOUT_SECONDS)).is_success
        except httpx.TransportError:
            return False


def make_gateway(
    superlink_port: int,
    upload_log: Path,
    authorizer: Authorizer | None,
    limits: ConnectionLimits,
    exchange: Exchange,
) -> Starlette:
    """Return the gateway as an ASGI app in front of the SuperLink on this machine.

    Args:
        superlink_port: port of the SuperLink
        upload_log:     file that names complete answers; other shared files lie beside it
        authorizer:     decides who may pass; None: anybody, in plain HTTP
        limits:         limits on connections
        exchange:       messages between the server's app and the stores
    """

    @asynccontextmanager
    async def lifespan(gateway: Starlette) -> AsyncIterator[None]:
        scheme = "https" if authorizer else "http"
        async with httpx.AsyncClient(
            base_url=f"{scheme}://127.0.0.1:{superlink_port}",
            verify=authorizer.chain.client_tls() if authorizer else False,
            timeout=_SUPERLINK_TIMEOUT,
            # a proxy of the environment has no business on loopback
            trust_env=False,
            # bodies are passed on as they come
            headers={"accept-encoding": "identity"},
        ) as client:
            presence = Presence(upload_log.with_name(PRESENCE))
            registered_keys = RegisteredKeys(upload_log.parent) if authorizer else None
            state = gateway.state
            state.client = client
            state.authorizer = authorizer
            state.limits = limits
            state.health = SuperLinkHealth(client)
            state.push_inspector = PushInspector()
            state.uploads = UploadLogWriter(upload_log)
            state.classes_file = upload_log.with_name(RUN_CLASSES_FILE)
            state.traffic = TrafficRecorder(upload_log.with_name(TRAFFIC))
            state.withdrawals = Withdrawn(upload_log.with_name(WITHDRAWN))
            state.exchange = exchange
            state.presence = presence
            state.heartbeats = Heartbeats(client, presence)
            state.registered_keys = registered_keys
            watches = [exchange.watch(), presence.watch()]
            if registered_keys:
                watches.append(registered_keys.watch())
            watch_tasks = [asyncio.create_task(watch) for watch in watches]
            yield
            for task in watch_tasks:
                task.cancel()

    routes = [
        Route(
            "/{path:path}",
            _answer,
            methods=["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"],
        )
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _answer(request: Request) -> Response:
    """Answer a request; only an exact path, byte for byte as sent, of a permitted sender passes."""
    try:
        return await _route(request)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads this answer
    # the list of stores is damaged, and a store has just proven that a kit is its own
    except ConfigError as error:
        print(f"{error} Until then no kit can be used.", flush=True)
        return Response(status_code=503)


async def _route(request: Request) -> Response:
    # not decoded: %2e%2e, // and other letter cases make other paths
    path = request.scope["raw_path"]
    authorizer: Authorizer | None = request.app.state.authorizer
    # no call of a store has a query, so none passes with one
    call = ("" if request.url.query else request.method), path
    if call == ("GET", HEALTH_PATH):
        return Response(status_code=200 if await request.app.state.health.is_healthy() else 503)
    if authorizer and call == ("POST", ENROL_PATH.encode()):
        return await _enrol(request, authorizer)
    if call == ("POST", CLASSES_PATH.encode()):
        return await _send_classes(request, authorizer)
    if call[0] != "POST" or path not in FLEET_PATHS | {WANTED_PATH_BYTES}:
        if authorizer:
            authorizer.log.tell(address_of(request), "it asked for what is not served here")
        return Response(status_code=404)
    return await _answer_store(request, authorizer)


async def _answer_store(request: Request, authorizer: Authorizer | None) -> Response:
    """Answer a permitted call, if a store of the chain sends it."""
    path = request.scope["raw_path"]
    if authorizer and (rejection := _rejection(request, authorizer)):
        return rejection
    if not authorizer:
        # without credentials there are no keys to prove, but connections are counted all the same
        _mark_proven(request, request.headers.get(KEY_HEADER, "anybody"))
    response = await (_answer_whether_wanted if path == WANTED_PATH_BYTES else forward)(request)
    if authorizer and path == POLL_PATH and (rejection := _rejection(request, authorizer)):
        return rejection  # the call may have been held, and its permission be old
    if path in DEREGISTRATION_PATHS:
        request.app.state.presence.left(request.headers.get(KEY_HEADER, ""))
    if authorizer:
        _add_store_headers(response, request, authorizer)
    return response


def _add_store_headers(response: Response, request: Request, authorizer: Authorizer) -> None:
    """Add the chain's headers for the store to an answer, and record a store that deregisters."""
    path = request.scope["raw_path"]
    if response.status_code == httpx.codes.UNAUTHORIZED:
        _add_reason(response, request, authorizer)
    if path in DEREGISTRATION_PATHS:
        authorizer.record_deregistration(request.headers)
    if (
        path in ADDRESS_LIST_PATHS
        and response.status_code == httpx.codes.OK
        and (address_list := authorizer.address_list())
    ):
        response.headers[ADDRESSES_HEADER] = address_list


def _rejection(request: Request, authorizer: Authorizer) -> Response | None:
    """Return the rejection of a call, or None if a store of the chain sends it.

    A signature is checked once for each connection and key: nobody else can send on the same
    connection.
    """
    if reason := authorizer.refusal(address_of(request), request.headers):
        return _forbidden(reason)
    key = request.headers[KEY_HEADER]
    if request.state.connection.key != key:
        if not authorizer.is_signed(request.headers):
            response = Response(status_code=httpx.codes.UNAUTHORIZED)
            _add_reason(response, request, authorizer)
            return response
        _mark_proven(request, key)
    presence: Presence = request.app.state.presence
    is_waiting = presence.is_waiting(presence.node_of(key))
    reason = authorizer.refusal_of_process(
        address_of(request), request.headers, is_waiting=is_waiting
    )
    return _forbidden(reason) if reason else None


def _mark_proven(request: Request, key: str) -> None:
    """Count the request's connection as one of the store with this key."""
    connection: Connection = request.state.connection
    limits: ConnectionLimits = request.app.state.limits
    if connection.key != key:
        limits.mark_proven(connection, key)


def _add_reason(response: Response, request: Request, authorizer: Authorizer) -> None:
    """Add to a 401 the reason for the store, if the store can do something about it."""
    key = request.headers.get(KEY_HEADER, "")
    timestamp = request.headers.get(TIME_HEADER, "")
    if reason := authorizer.reason_for_401(address_of(request), key, timestamp):
        response.headers[REASON_HEADER] = reason


async def _enrol(request: Request, authorizer: Authorizer) -> Response:
    body = await limited_body(request, MAX_ENROLMENT_BYTES)
    if body is None:
        return Response(status_code=413)
    # in a thread: it waits for the list of stores to be on disk
    reason = await run_in_threadpool(authorizer.enrol, address_of(request), body)
    return _forbidden(reason) if reason else Response(status_code=204)


async def _send_classes(request: Request, authorizer: Authorizer | None) -> Response:
    """Return the run's classes as JSON to a store of this chain; 404 until they are known."""
    body = await limited_body(request, MAX_ENROLMENT_BYTES)
    if body is None:
        return Response(status_code=413)
    reason = (
        await run_in_threadpool(authorizer.refusal_of_kit, address_of(request), body)
        if authorizer
        else None
    )
    if reason:
        return _forbidden(reason)
    try:
        return Response(request.app.state.classes_file.read_bytes(), media_type="application/json")
    except OSError:
        return Response(status_code=404)


async def _answer_whether_wanted(request: Request) -> Response:
    """Tell a store whether its answer to an order is still wanted: 200, or 410 if not."""
    body = await limited_body(request, MAX_QUESTION_BYTES)
    if body is None:
        return Response(status_code=413)
    return Response(
        status_code=httpx.codes.GONE if request.app.state.withdrawals.has(body) else httpx.codes.OK
    )


def _forbidden(reason: RefusalReason) -> Response:
    return Response(status_code=httpx.codes.FORBIDDEN, headers={REASON_HEADER: reason})


def main() -> None:
    """Serve until terminated."""
    host, port, superlink_port, upload_log, *credentials = sys.argv[1:]
    authorizer = Authorizer(Chain.load(Path(credentials[0]))) if credentials else None
    log = authorizer.log if authorizer else RejectionLog()
    limits = ConnectionLimits(log, _raise_file_limit())
    exchange = Exchange(Path(upload_log).parent)
    gateway = make_gateway(int(superlink_port), Path(upload_log), authorizer, limits, exchange)
    config = uvicorn.Config(
        gateway,
        host=host,
        port=int(port),
        ws="none",
        log_level="warning",
        server_header=False,
        lifespan="on",
        proxy_headers=False,
    )
    TlsServer(
        config, authorizer.chain.directory if authorizer else None, limits, log, exchange.release
    ).run()


def _raise_file_limit() -> int:
    """Raise this process's limit of open files as far as allowed; return the limit."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    return hard_limit


if __name__ == "__main__":
    main()
