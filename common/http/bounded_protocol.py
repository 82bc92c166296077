"""uvicorn's protocol with bounds on the head of a request, and one request at a time.

The bounds are checked while bytes are parsed, before any of our own code is called for a request.
So a stranger cannot make a server work or remember more than these bounds.
"""

from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

MAX_HEADERS = 50
MAX_HEAD_BYTES = 32 * 2**10  # of a request, before its body
MAX_URL_BYTES = 2000
# time for a client to read why its request was refused, before the connection ends
LINGER_SECONDS = 2.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Subclasses bound the body, and the time that a client takes."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: Any = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.is_rejected = False
        self.is_in_head = True
        self._is_message_complete = False
        self._head_bytes = 0
        self._header_bytes = 0
        self._parse_error: tuple[int, str] | None = None

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, or throw them away if the request was rejected."""
        self._unset_keepalive_if_required()
        if self.is_rejected:
            return
        self._is_message_complete = False
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.reject(*(self._parse_error or (400, "it does not speak HTTP as this server does")))
            return
        if self.is_in_head and not self._is_message_complete:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.reject(431, f"headers of more than {MAX_HEAD_BYTES} bytes")

    @property
    def discards_body(self) -> bool:
        """True if the current request was answered before all of its body came."""
        return not self.is_in_head and self.cycle is not None and self.cycle.response_complete

    def on_message_begin(self) -> None:
        """Begin a request (called by the parser).

        A request that comes before the answer to the one before it is rejected.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self.stop_parser(400, "it sent a request before the answer to another")
        super().on_message_begin()
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL (called by the parser), and reject a URL that is too long."""
        if len(self.url) + len(url) > MAX_URL_BYTES:
            self.stop_parser(414, f"a URL of more than {MAX_URL_BYTES} bytes")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header (called by the parser), and reject too many headers or bytes of headers."""
        if len(self.headers) == MAX_HEADERS:
            self.stop_parser(431, f"more than {MAX_HEADERS} headers")
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEAD_BYTES:
            self.stop_parser(431, f"headers of more than {MAX_HEAD_BYTES} bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the headers (called by the parser), and hand the request to the application."""
        if self.parser.should_upgrade():
            self.stop_parser(400, "it asked for another protocol than HTTP/1.1")
        self.is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request (called by the parser)."""
        super().on_message_complete()
        self.is_in_head = True
        self._is_message_complete = True
        self._head_bytes = 0

    def stop_parser(self, status: int, reason: str) -> None:
        """Stop the parser by an error of ours; the parser's own exception hides the reason."""
        self._parse_error = status, reason
        raise ValueError(reason)

    def reject(self, status: int, reason: str) -> None:
        """Answer once, ignore all that follows, and close the connection after a moment.

        Args:
            status: of the answer
            reason: in words, "a URL of more than 2000 bytes"
        """
        self.is_rejected = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        kind, body = self.rejection(status, reason)
        head = f"{kind}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def rejection(self, status: int, reason: str) -> tuple[str, bytes]:
        """Return further header lines and the body of the answer that rejects a request."""
        return "", b""
