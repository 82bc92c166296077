"""The gateway: the only access from outside to Flower's SuperLink, and only for the calls that
stores need.

A SuperLink serves three APIs on one port. The one for stores (Fleet) authenticates; the one that
starts runs (Control) does not, and a run is code. So the SuperLink listens on loopback, and this
reverse proxy passes the exact paths of the Fleet API and `/health`, and no path that merely looks
like them. With credentials, it speaks TLS, asks an authorizer who may pass, and enrols stores.
While the SuperLink restarts, it answers 503 and keeps running. No body is read before its sender
is known to be a store of the chain, except the small ones of stores that enrol or ask for the
classes.

    python -m fedshelf.server.gateway.proxy HOST PORT SUPERLINK_PORT ANSWERED [CREDENTIALS]

ANSWERED is the file in which it tells the server's app whose answers are complete
(`server.ipc.upload_log`).
"""

import asyncio
import resource
import sys
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
    Reason,
)
from fedshelf.server.credentials.authorizer import KEY_HEADER, TIME_HEADER, Authorizer
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.registered import Registered
from fedshelf.server.credentials.rejection_log import RejectionLog
from fedshelf.server.gateway.connections import Connection, ConnectionLimits
from fedshelf.server.gateway.exchange import Exchange
from fedshelf.server.gateway.forward import address_of, forward, limited_body
from fedshelf.server.gateway.heartbeats import Heartbeats
from fedshelf.server.gateway.push_inspection import PushInspection
from fedshelf.server.gateway.superlink_health import SuperLinkHealth
from fedshelf.server.gateway.tls_server import TlsServer
from fedshelf.server.ipc.presence import Presence
from fedshelf.server.ipc.run_mailbox import CLASSES_FILE, PRESENCE, TRAFFIC, WITHDRAWN
from fedshelf.server.ipc.traffic import TrafficRecorder
from fedshelf.server.ipc.upload_log import UploadLogWriter
from fedshelf.server.ipc.withdrawals import Withdrawn

FLEET_CALLS = (
    "register-node", "activate-node", "deactivate-node", "unregister-node", "send-node-heartbeat",
    "pull-messages", "push-messages", "get-run", "get-fab", "push-object", "pull-object",
    "confirm-message-received",
)  # fmt: skip
TOLD_ADDRESSES = {  # calls whose answers carry ADDRESSES_HEADER
    f"/v1/fleet/{call}".encode()
    for call in ("activate-node", "send-node-heartbeat", "pull-messages")
}
LEAVE = {b"/v1/fleet/deactivate-node", b"/v1/fleet/unregister-node"}
PASSED = {f"/v1/fleet/{call}".encode() for call in FLEET_CALLS}
POLL_PATH = b"/v1/fleet/pull-messages"
HEALTH = b"/health"
WANTED = WANTED_PATH.encode()

LARGEST_ENROLMENT = 16 * 2**10  # bytes
LARGEST_QUESTION = 2**10  # bytes
_TIMEOUT = httpx.Timeout(60.0, connect=2.0)  # seconds


def make_door(
    superlink_port: int,
    answered: Path,
    guard: Authorizer | None,
    limits: ConnectionLimits,
    exchange: Exchange,
) -> Starlette:
    """Return the gateway as an ASGI app in front of the local SuperLink; with a `guard`, it checks
    the senders.
    """

    @asynccontextmanager
    async def lifespan(door: Starlette) -> AsyncIterator[None]:
        url, trust = (
            ("https://127.0.0.1", guard.chain.client_tls())
            if guard
            else ("http://127.0.0.1", False)
        )
        async with httpx.AsyncClient(
            base_url=f"{url}:{superlink_port}",
            verify=trust,
            timeout=_TIMEOUT,
            trust_env=False,
            headers={"accept-encoding": "identity"},
        ) as client:
            door.state.client, door.state.guard, door.state.limits = client, guard, limits
            door.state.health = SuperLinkHealth(client)
            door.state.announced, door.state.uploads = PushInspection(), UploadLogWriter(answered)
            door.state.classes = answered.with_name(CLASSES_FILE)
            door.state.traffic = TrafficRecorder(answered.with_name(TRAFFIC))
            door.state.withdrawn = Withdrawn(answered.with_name(WITHDRAWN))
            door.state.exchange, door.state.presence = (
                exchange,
                Presence(answered.with_name(PRESENCE)),
            )
            door.state.heartbeats = Heartbeats(client, door.state.presence)
            door.state.registered = registered = Registered(answered.parent) if guard else None
            watched = filter(None, (exchange, door.state.presence, registered))
            watching = [asyncio.create_task(each.watch()) for each in watched]
            yield
            for task in watching:
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
    """Forward the request if its path, byte for byte as sent, and its sender are permitted; else
    answer 404.
    """
    try:
        return await _routed(request)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads this answer
    # the list of stores is damaged, and a store has just proven that a kit is its own
    except ConfigError as error:
        print(f"{error} Until then no kit can be used.", flush=True)
        return Response(status_code=503)


async def _routed(request: Request) -> Response:
    # not decoded: %2e%2e, // and other letter cases make other paths
    path = request.scope["raw_path"]
    guard: Authorizer | None = request.app.state.guard
    call = ("" if request.url.query else request.method), path
    if call == ("GET", HEALTH):
        return Response(status_code=200 if await request.app.state.health.is_well() else 503)
    if guard and call == ("POST", ENROL_PATH.encode()):
        return await _enrol(request, guard)
    if call == ("POST", CLASSES_PATH.encode()):
        return await _tell_classes(request, guard)
    if call[0] != "POST" or path not in PASSED | {WANTED}:
        if guard:
            guard.log.tell(address_of(request), "it asked for what is not served here")
        return Response(status_code=404)
    return await _of_store(request, guard)


async def _of_store(request: Request, guard: Authorizer | None) -> Response:
    """Answer a permitted call, if a store of the chain sends it."""
    path = request.scope["raw_path"]
    if guard and (refused := _stopped(request, guard)):
        return refused
    if not guard:
        _prove(request, request.headers.get(KEY_HEADER, "anybody"))
    response = await (_tell_whether_wanted if path == WANTED else forward)(request)
    if guard and path == POLL_PATH and (refused := _stopped(request, guard)):
        return refused  # the call may have been held, and its permission be old
    if path in LEAVE:
        request.app.state.presence.left(request.headers.get(KEY_HEADER, ""))
    if guard:
        _accompany(response, request, guard)
    return response


def _accompany(response: Response, request: Request, guard: Authorizer) -> None:
    """Add the chain's headers for the store to the SuperLink's answer, and record a store that
    deregisters.
    """
    path = request.scope["raw_path"]
    if response.status_code == httpx.codes.UNAUTHORIZED:
        _explain(response, request, guard)
    if path in LEAVE:
        guard.left(request.headers)
    if (
        path in TOLD_ADDRESSES
        and response.status_code == httpx.codes.OK
        and (told := guard.addresses())
    ):
        response.headers[ADDRESSES_HEADER] = told


def _stopped(request: Request, guard: Authorizer) -> Response | None:
    """Return the refusal of a call that does not come from a store of the chain, or None if it
    does.

    A signature is checked once for each connection and key: nobody else can send on the same
    connection.
    """
    if reason := guard.refusal(address_of(request), request.headers):
        return _refused(reason)
    key = request.headers[KEY_HEADER]
    if request.state.connection.key != key:
        if not guard.is_signed(request.headers):
            response = Response(status_code=httpx.codes.UNAUTHORIZED)
            _explain(response, request, guard)
            return response
        _prove(request, key)
    presence: Presence = request.app.state.presence
    is_waiting = presence.is_waiting(presence.node_of(key))
    reason = guard.refusal_of_process(address_of(request), request.headers, is_waiting=is_waiting)
    return _refused(reason) if reason else None


def _prove(request: Request, key: str) -> None:
    """Count the request's connection as one of the store with this key."""
    connection: Connection = request.state.connection
    limits: ConnectionLimits = request.app.state.limits
    if connection.key != key:
        limits.prove(connection, key)


def _explain(response: Response, request: Request, guard: Authorizer) -> None:
    """Explain in `response`, a 401, how the store can remedy it, if it can."""
    key = request.headers.get(KEY_HEADER, "")
    timestamp = request.headers.get(TIME_HEADER, "")
    if reason := guard.reason_for_401(address_of(request), key, timestamp):
        response.headers[REASON_HEADER] = reason


async def _enrol(request: Request, guard: Authorizer) -> Response:
    body = await limited_body(request, LARGEST_ENROLMENT)
    if body is None:
        return Response(status_code=413)
    reason = await run_in_threadpool(guard.enrol, address_of(request), body)
    return _refused(reason) if reason else Response(status_code=204)


async def _tell_classes(request: Request, guard: Authorizer | None) -> Response:
    """Return the run's classes as JSON, for a store of this chain; 404 as long as they are not
    known.
    """
    body = await limited_body(request, LARGEST_ENROLMENT)
    if body is None:
        return Response(status_code=413)
    reason = (
        await run_in_threadpool(guard.refusal_of_kit, address_of(request), body) if guard else None
    )
    if reason:
        return _refused(reason)
    try:
        return Response(request.app.state.classes.read_bytes(), media_type="application/json")
    except OSError:
        return Response(status_code=404)


async def _tell_whether_wanted(request: Request) -> Response:
    """Answer a store that asks whether anybody waits for its answer to an order; 410 if nobody
    does.
    """
    body = await limited_body(request, LARGEST_QUESTION)
    if body is None:
        return Response(status_code=413)
    return Response(
        status_code=httpx.codes.GONE if request.app.state.withdrawn.has(body) else httpx.codes.OK
    )


def _refused(reason: Reason) -> Response:
    return Response(status_code=httpx.codes.FORBIDDEN, headers={REASON_HEADER: reason})


def main() -> None:
    """Serve until terminated."""
    host, port, superlink_port, answered, *credentials = sys.argv[1:]
    guard = Authorizer(Chain.load(Path(credentials[0]))) if credentials else None
    log = guard.log if guard else RejectionLog()
    limits = ConnectionLimits(log, _raise_file_limit())
    exchange = Exchange(Path(answered).parent)
    door = make_door(int(superlink_port), Path(answered), guard, limits, exchange)
    config = uvicorn.Config(
        door,
        host=host,
        port=int(port),
        ws="none",
        log_level="warning",
        server_header=False,
        lifespan="on",
        proxy_headers=False,
    )
    TlsServer(config, guard.chain.directory if guard else None, limits, log, exchange.release).run()


def _raise_file_limit() -> int:
    """Raise this process's limit of open files as far as allowed; return the limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


if __name__ == "__main__":
    main()
