"""The first code that sees a request: counts it, and refuses those that may not be answered."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedshelf.client.service.requests.api_keys import ApiKeys
from fedshelf.client.service.requests.metrics import ServiceMetrics
from fedshelf.client.service.requests.problems import (
    Endpoint,
    ProblemError,
    busy,
    direct_response,
)

RETRY_SECONDS = 5  # after which a service that is restarted is likely back
# They tell nobody anything, and what watches a service has no key.
_OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})

# of every answer; the page's files have more
_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Access:
    """ASGI middleware before all endpoints.

    Args:
        app: the endpoints
        direct: endpoints by method and path that are answered without it, as they are asked most
        keys: of the clients
        hosts: names under which requests are answered, against other sites whose name leads here
            (DNS rebinding); None: any, for what is open to the network has keys instead
        metrics: gets each request
        open_paths: paths that need no key, beside those of health: the page's files

    Attributes:
        is_stopping: True: new requests are refused
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        direct: Mapping[tuple[str, str], Endpoint],
        keys: ApiKeys,
        hosts: Sequence[str] | None,
        metrics: ServiceMetrics,
        open_paths: frozenset[str],
    ) -> None:
        self._app = app
        self._direct = dict(direct)
        self._keys = keys
        self._hosts = None if hosts is None else frozenset(hosts)
        self._metrics = metrics
        self._open_paths = _OPEN_PATHS | open_paths
        self._under_way = 0
        self._all_answered = asyncio.Event()
        self._all_answered.set()
        self.is_stopping = False

    async def wait_until_answered(self) -> None:
        """Wait until no request is under way."""
        await self._all_answered.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def send_secured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        self._under_way += 1
        self._all_answered.clear()
        try:
            if (response := await self._whole_answer(scope, receive)) is None:
                await self._app(scope, receive, send_secured)
            else:
                status = response.status_code
                response.raw_headers += _HEADERS
                await scope["state"]["connection"].answer(response)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._all_answered.set()
            name = getattr(scope.get("endpoint"), "__name__", "none")
            self._metrics.count_request(name, status, time.perf_counter() - began)

    async def _whole_answer(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the answer to a request that the app does not see; None: it sees it."""
        if (problem := self._refusal(scope)) is not None:
            return problem.response()
        if (endpoint := self._direct.get((scope["method"], scope["path"]))) is None:
            return None
        scope["endpoint"] = endpoint
        return await direct_response(endpoint, Request(scope, receive))

    def _refusal(self, scope: Scope) -> ProblemError | None:
        """Return why a request is not answered; None: it is."""
        headers = dict(scope["headers"])
        path = scope["path"]
        if self._hosts is not None and _host(headers.get(b"host", b"")) not in self._hosts:
            return ProblemError(
                400,
                "The header Host names another machine; without API keys the service answers as"
                " localhost alone.",
            )
        if self.is_stopping and path != "/v2/health/live":
            problem = busy(503, "The service is stopping.", RETRY_SECONDS)
            problem.headers["connection"] = "close"
            return problem
        if (
            self._keys.are_needed
            and path not in self._open_paths
            and not self._keys.accept(headers.get(b"authorization", b"").decode("latin-1"))
        ):
            return ProblemError(
                401,
                "This service needs a key, in the header Authorization: Bearer KEY.",
                {"www-authenticate": "Bearer"},
            )
        return None


def _host(value: bytes) -> str:
    """Return the host in a header "Host: HOST:PORT", without brackets."""
    header = value.decode("latin-1")
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
