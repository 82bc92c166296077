"""The gateway's HTTP: requests of bounded size, one at a time, whose bodies have a declared length.

All bounds here are checked while bytes are parsed, before any of our own code is called for a
request.
"""

import time
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from fedshelf.server.credentials.rejection_log import RejectionLog
from fedshelf.server.gateway.connections import Awaited, Connection, ConnectionLimits

MOST_HEADERS = 50
LARGEST_HEAD = 32 * 2**10  # bytes of a request before its body
LARGEST_URL = 2000  # bytes
# bytes; Flower cuts arrays into objects of 5 MiB, and other records are small
LARGEST_BODY = 8 * 2**20
LARGEST_UNREAD = 2 * LARGEST_BODY  # bytes of a refused body that are still read
# bytes a second that are read of all refused bodies: they cost time and serve nobody
UNREAD_RATE = 8e6
# time for a client to read why its request was refused, before the connection ends
LINGER_SECONDS = 2.0


class Unread:
    """The pace at which refused bodies are read, of all connections together."""

    def __init__(self) -> None:
        # time.monotonic() at which all bytes so far would have come at UNREAD_RATE
        self._free = 0.0

    def delay(self, count: int) -> float:
        """Return the seconds to wait before the next bytes are read, after `count` more."""
        now = time.monotonic()
        self._free = max(self._free, now) + count / UNREAD_RATE
        return self._free - now


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with bounds on all that is sent before a request is
    checked.

    The application finds `connection` in its request's state.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        connection: Connection,
        limits: ConnectionLimits,
        log: RejectionLog,
        unread: Unread,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._connection = connection
        self._limits = limits
        self._log = log
        self._unread = unread
        self._is_in_head = True
        self._has_completed = False
        self._is_over = False
        self._head_bytes = 0
        self._header_bytes = 0
        self._fault: tuple[int, str] | None = None

    def connection_made(self, transport: Any) -> None:
        """Start to expect a request's head; called once, after the TLS handshake."""
        super().connection_made(transport)
        self._connection.abort = transport.abort
        self._connection.expect(Awaited.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the limits; called once, at the end."""
        super().connection_lost(exc)
        self._limits.remove(self._connection)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        self._unset_keepalive_if_required()
        if self._connection.awaited is Awaited.NOTHING:
            self._connection.expect(Awaited.HEAD)
        received = self._connection.received(len(data))
        if self._is_over or self._is_unread:
            self._slow_down(len(data), received)
        if self._is_over:
            return
        self._has_completed = False
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(*(self._fault or (400, "it does not speak HTTP as this server does")))
            return
        if self._is_in_head and not self._has_completed:
            self._head_bytes += len(data)
            if self._head_bytes > LARGEST_HEAD:
                self._refuse(431, f"headers of more than {LARGEST_HEAD} bytes")

    @property
    def _is_unread(self) -> bool:
        """True if the current request was answered before all of its body came."""
        return not self._is_in_head and self.cycle is not None and self.cycle.response_complete

    def _slow_down(self, count: int, received: int) -> None:
        """Delay the reading of bytes that nobody needs."""
        if received > LARGEST_UNREAD:
            self.transport.abort()
        elif (delay := self._unread.delay(count)) > 0.01:
            self.flow.pause_reading()
            self.loop.call_later(delay, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_message_begin(self) -> None:
        """Begin a request (called by the parser); it is refused if the answer to another is not
        complete.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self._fail(400, "it sent a request before the answer to another")
        super().on_message_begin()
        self._header_bytes = 0
        self.scope["state"]["connection"] = self._connection

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL (called by the parser) and bound its length."""
        if len(self.url) + len(url) > LARGEST_URL:
            self._fail(414, f"a URL of more than {LARGEST_URL} bytes")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header (called by the parser) and bound the number and bytes of headers."""
        if len(self.headers) == MOST_HEADERS:
            self._fail(431, f"more than {MOST_HEADERS} headers")
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > LARGEST_HEAD:
            self._fail(431, f"headers of more than {LARGEST_HEAD} bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the headers (called by the parser) and hand the request to the application."""
        if self.parser.should_upgrade():
            self._fail(400, "it asked for another protocol than HTTP/1.1")
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            self._fail(411, "a body that does not say its length")
        self._is_in_head = False
        self._connection.expect(Awaited.BODY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request (called by the parser)."""
        super().on_message_complete()
        self._connection.expect(Awaited.HEAD if self._is_unread else Awaited.NOTHING)
        self._is_in_head = True
        self._has_completed = True
        self._head_bytes = 0

    def _fail(self, status: int, why: str) -> None:
        """Stop the parser by an error of ours; the parser's own exception hides its text."""
        self._fault = status, why
        raise ValueError(why)

    def _refuse(self, status: int, why: str) -> None:
        """Answer once, ignore everything after, and close the connection after a moment."""
        self._is_over = True
        self._log.tell(self._connection.address, why)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        head = STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head)
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
