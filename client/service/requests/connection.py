"""One connection to the service: bounded heads and time, and whether the client is still there."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from starlette.responses import Response
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import CLOSE_HEADER, HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle
from uvicorn.server import ServerState

from fedshelf.client.service.requests.limits import ServiceLimits
from fedshelf.client.service.requests.problems import MEDIA_TYPE, ProblemError
from fedshelf.common.http.bounded_protocol import BoundedProtocol

# Between a deadline and the refusal, so that a loop that was busy first reads what has come.
SECOND_LOOK_SECONDS = 0.05


class ServiceProtocol(BoundedProtocol):
    """uvicorn's protocol for one connection.

    Endpoints find it as `request.state.connection`.

    Attributes:
        is_lost: the client has closed the connection
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ServiceLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.is_lost = False
        self._limits = limits
        self._discarded_bytes = 0
        self._is_unused = True  # no byte has come yet
        self._is_message_open = False  # a request has begun and not ended
        self._body_began = 0.0  # on the loop's clock, as the next but one
        self._body_bytes = 0
        self._last_byte = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._start: Callable[[], None] | None = None  # of a request whose body comes

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request; one connection too many is told so and closed."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self.reject(503, "one of too many connections; try again in a moment")
        else:
            self._start_timer(self._limits.idle_seconds, self._reject_slow_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell endpoints that nobody waits any more."""
        super().connection_lost(exc)
        self.is_lost = True
        self._stop_timer()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; those of a body that was answered already are thrown away."""
        if self.discards_body:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > self._limits.max_body_bytes:
                self.transport.abort()
                return
        if self._is_unused:
            self._is_unused = False
            self._stop_timer()
        super().data_received(data)
        if self._timer is None and not self.is_rejected:
            self._time_the_rest()

    def _time_the_rest(self) -> None:
        """Start the timer of what the client has begun to send: a head or a body."""
        is_answered = self.cycle is None or self.cycle.response_complete
        if not self.is_in_head:
            if not is_answered:
                self._check_body()
        elif is_answered and (self._is_message_open or not self._is_message_complete):
            self._start_timer(self._limits.head_seconds, self._check_head)

    def on_message_begin(self) -> None:
        """Begin a request (called by the parser)."""
        super().on_message_begin()
        self._discarded_bytes = 0
        self._is_message_open = True
        self.scope["state"]["connection"] = self

    def on_headers_complete(self) -> None:
        """Hand the request to the application (called by the parser)."""
        super().on_headers_complete()
        self._stop_timer()
        self._body_began = self._last_byte = self.loop.time()
        self._body_bytes = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Hand a request to the application (called by uvicorn).

        One with a small body is handed over once all of it is there, so that it is read at one go.
        """
        length = dict(self.headers).get(b"content-length", b"0")
        most = min(HIGH_WATER_LIMIT, self._limits.max_body_bytes)
        is_small = length.isdigit() and len(length) < 9 and 0 < int(length) <= most
        if is_small and not self.expect_100_continue:
            self._start = partial(super()._start_asgi_task, cycle, app)
        else:
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Add a part of a body (called by the parser)."""
        super().on_body(body)
        self._body_bytes += len(body)
        self._last_byte = self.loop.time()

    def on_message_complete(self) -> None:
        """End a request (called by the parser)."""
        super().on_message_complete()
        self._is_message_open = False
        self._stop_timer()
        if self._start is not None:
            self._start()
            self._start = None

    async def answer(self, response: Response) -> None:
        """Answer the current request, whose body is read or is not wanted.

        uvicorn's own way, two messages of ASGI, takes as long as all that an endpoint does for a
        small photo, and two system calls, each of which wakes the client.

        Args:
            response: whole, with its headers; its body is left out for HEAD
        """
        cycle = self.cycle
        if self.flow.write_paused:  # the client does not read its answers
            await self.flow.drain()
        if cycle.disconnected:
            return
        headers = response.raw_headers
        if CLOSE_HEADER in self.headers and CLOSE_HEADER not in headers:
            headers = [*headers, CLOSE_HEADER]
        if CLOSE_HEADER in headers:
            cycle.keep_alive = False
        lines = [STATUS_LINE[response.status_code], *[b"%b: %b\r\n" % each for each in headers]]
        body = b"" if self.scope["method"] == "HEAD" else response.body
        self.transport.write(b"".join((*lines, b"\r\n", body)))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, or throw away the rest of the body for a while."""
        super().on_response_complete()
        if not self.is_in_head and not self.transport.is_closing():
            self._start_timer(self._limits.stall_seconds, self.transport.abort)

    def rejection(self, status: int, reason: str) -> tuple[str, bytes]:
        """Return further header lines and the body of the answer that rejects a request."""
        problem = ProblemError(status, f"The request was refused: {reason}.")
        retry = "retry-after: 1\r\n" if status == 503 else ""
        return f"content-type: {MEDIA_TYPE}\r\n{retry}", json.dumps(problem.to_json()).encode()

    def _check_head(self) -> None:
        """Reject a head that has not come by now; see `SECOND_LOOK_SECONDS`."""
        self._start_timer(SECOND_LOOK_SECONDS, self._reject_slow_head)

    def _check_body(self, *, again: bool = False) -> None:
        """Reject a body that comes too slowly, or look again when it might."""
        deadline = self._limits.body_deadline(self._body_began, self._body_bytes, self._last_byte)
        left = deadline - self.loop.time()
        if left > 0:
            self._start_timer(left, self._check_body)
        elif not again:
            self._start_timer(SECOND_LOOK_SECONDS, partial(self._check_body, again=True))
        else:
            self.reject(408, "its body came too slowly")

    def _reject_slow_head(self) -> None:
        self.reject(408, "its headers did not come in time")

    def _start_timer(self, seconds: float, call: Any) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, call)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
