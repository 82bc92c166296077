"""The gateway's HTTP: requests of bounded size, one at a time, whose bodies have a declared length.

All bounds here are checked while bytes are parsed, before any of our own code is called for a
request. So a client without a key cannot make the server work or remember more than these bounds.
"""

import time
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from fedshelf.server.credentials.rejection_log import RejectionLog
from fedshelf.server.gateway.connections import Awaited, Connection, ConnectionLimits

MAX_HEADERS = 50
MAX_HEAD_BYTES = 32 * 2**10  # of a request, before its body
MAX_URL_BYTES = 2000
# Flower cuts arrays into objects of 5 MiB, and other records are small
MAX_BODY_BYTES = 8 * 2**20
MAX_DISCARDED_BYTES = 2 * MAX_BODY_BYTES  # of the body of a rejected request
# of all rejected requests' bodies together: they cost time and serve nobody
DISCARD_BYTES_PER_SECOND = 8e6
# time for a client to read why its request was refused, before the connection ends
LINGER_SECONDS = 2.0


class DiscardRate:
    """The pace at which bodies of rejected requests are read, for all connections together.

    A client that is still sending must be read from, or it never sees the answer that rejects it.
    """

    def __init__(self) -> None:
        # time.monotonic() at which all bytes so far would have come at UNREAD_RATE
        self._free_at = 0.0

    def delay(self, byte_count: int) -> float:
        """Return the time to wait before more bytes are read.

        Args:
            byte_count: bytes that have just been read and thrown away

        Returns:
            Seconds; 0 or less: the next bytes may be read at once.
        """
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + byte_count / DISCARD_BYTES_PER_SECOND
        return self._free_at - now


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol for one connection, with bounds on all that a client sends.

    The application finds the connection as `request.state.connection`.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        connection: Connection,
        limits: ConnectionLimits,
        rejection_log: RejectionLog,
        discard_rate: DiscardRate,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._connection = connection
        self._limits = limits
        self._rejection_log = rejection_log
        self._discard_rate = discard_rate
        self._is_in_head = True
        self._is_message_complete = False
        self._is_rejected = False
        self._head_bytes = 0
        self._header_bytes = 0
        self._parse_error: tuple[int, str] | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for a request's headers; called once, after the TLS handshake."""
        super().connection_made(transport)
        self._connection.abort = transport.abort
        self._connection.expect(Awaited.HEAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the limits; called once, at its end."""
        super().connection_lost(exc)
        self._limits.remove(self._connection)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, or throw them away if the request was rejected."""
        self._unset_keepalive_if_required()
        if self._connection.awaited is Awaited.NOTHING:
            self._connection.expect(Awaited.HEAD)
        received_bytes = self._connection.count_received(len(data))
        if self._is_rejected or self._discards_body:
            self._pace_reading(len(data), received_bytes)
        if self._is_rejected:
            return
        self._is_message_complete = False
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._reject(
                *(self._parse_error or (400, "it does not speak HTTP as this server does"))
            )
            return
        if self._is_in_head and not self._is_message_complete:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._reject(431, f"headers of more than {MAX_HEAD_BYTES} bytes")

    @property
    def _discards_body(self) -> bool:
        """True if the current request was answered before all of its body came."""
        return not self._is_in_head and self.cycle is not None and self.cycle.response_complete

    def _pace_reading(self, byte_count: int, received_bytes: int) -> None:
        """Delay the reading of bytes that nobody needs."""
        if received_bytes > MAX_DISCARDED_BYTES:
            self.transport.abort()
        elif (delay := self._discard_rate.delay(byte_count)) > 0.01:
            self.flow.pause_reading()
            self.loop.call_later(delay, self._resume_reading)

    def _resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def on_message_begin(self) -> None:
        """Begin a request (called by the parser).

        A request that comes before the answer to the one before it is rejected.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_parser(400, "it sent a request before the answer to another")
        super().on_message_begin()
        self._header_bytes = 0
        self.scope["state"]["connection"] = self._connection

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL (called by the parser), and reject a URL that is too long."""
        if len(self.url) + len(url) > MAX_URL_BYTES:
            self._stop_parser(414, f"a URL of more than {MAX_URL_BYTES} bytes")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header (called by the parser), and reject too many headers or bytes of headers."""
        if len(self.headers) == MAX_HEADERS:
            self._stop_parser(431, f"more than {MAX_HEADERS} headers")
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEAD_BYTES:
            self._stop_parser(431, f"headers of more than {MAX_HEAD_BYTES} bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the headers (called by the parser), and hand the request to the application."""
        if self.parser.should_upgrade():
            self._stop_parser(400, "it asked for another protocol than HTTP/1.1")
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            self._stop_parser(411, "a body that does not say its length")
        self._is_in_head = False
        self._connection.expect(Awaited.BODY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request (called by the parser)."""
        super().on_message_complete()
        self._connection.expect(Awaited.HEAD if self._discards_body else Awaited.NOTHING)
        self._is_in_head = True
        self._is_message_complete = True
        self._head_bytes = 0

    def _stop_parser(self, status: int, reason: str) -> None:
        """Stop the parser by an error of ours; the parser's own exception hides the reason."""
        self._parse_error = status, reason
        raise ValueError(reason)

    def _reject(self, status: int, reason: str) -> None:
        """Answer once, ignore all that follows, and close the connection after a moment."""
        self._is_rejected = True
        self._rejection_log.tell(self._connection.address, reason)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        head = STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head)
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
