"""One connection to the service: bounded heads and time, and whether the client is still there."""

import asyncio
import json
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from fedshelf.client.service.requests.limits import ServiceLimits
from fedshelf.client.service.requests.problems import MEDIA_TYPE, ProblemError
from fedshelf.common.http.bounded_protocol import BoundedProtocol

CONTINUE = b"HTTP/1.1 100 "  # begins what is no head of an answer
# Between a deadline and the refusal, so that a loop that was busy first reads what has come.
SECOND_LOOK_SECONDS = 0.05


class AnswerWriter:
    """A transport that sends the head of an answer together with the first part of its body.

    uvicorn writes them one after the other, and on a fast connection each write is a system call
    and wakes the client.

    Args:
        transport: of the connection
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_head_written = False
        self._head = b""

    def write(self, data: bytes) -> None:
        """Send bytes; a head is held back until more comes."""
        if not self._is_head_written and not data.startswith(CONTINUE):
            self._is_head_written = True
            self._head = data
            return
        if self._head:
            data = self._head + data
            self._head = b""
        self._transport.write(data)

    def end(self) -> None:
        """Send a head that nothing follows."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Send what is held back, and close the connection."""
        self.end()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()


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
        self._writer: AnswerWriter
        self._limits = limits
        self._discarded_bytes = 0
        self._is_unused = True  # no byte has come yet
        self._is_message_open = False  # a request has begun and not ended
        self._body_began = 0.0  # on the loop's clock, as the next but one
        self._body_bytes = 0
        self._last_byte = 0.0
        self._timer: asyncio.TimerHandle | None = None

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
        self._writer = AnswerWriter(self.transport)
        self.cycle.transport = cast(Any, self._writer)
        self._stop_timer()
        self._body_began = self._last_byte = self.loop.time()
        self._body_bytes = 0

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

    def on_response_complete(self) -> None:
        """Go on to the next request, or throw away the rest of the body for a while."""
        self._writer.end()
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
