"""The gateway's HTTP: requests whose bodies have a declared length, at a bounded pace.

The bounds on the head of a request are those of `BoundedProtocol`. All are checked before any of
our own code is called for a request.
"""

import time
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from fedshelf.common.http.bounded_protocol import BoundedProtocol
from fedshelf.server.credentials.rejection_log import RejectionLog
from fedshelf.server.gateway.connections import Awaited, Connection, ConnectionLimits

# Flower cuts arrays into objects of 5 MiB, and other records are small
MAX_BODY_BYTES = 8 * 2**20
MAX_DISCARDED_BYTES = 2 * MAX_BODY_BYTES  # of the body of a rejected request
# of all rejected requests' bodies together: they cost time and serve nobody
DISCARD_BYTES_PER_SECOND = 8e6


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


class BoundedHttp(BoundedProtocol):
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
        if self._connection.awaited is Awaited.NOTHING:
            self._connection.expect(Awaited.HEAD)
        received_bytes = self._connection.count_received(len(data))
        if self.is_rejected or self.discards_body:
            self._pace_reading(len(data), received_bytes)
        super().data_received(data)

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
        """Begin a request (called by the parser)."""
        super().on_message_begin()
        self.scope["state"]["connection"] = self._connection

    def on_headers_complete(self) -> None:
        """Check the headers (called by the parser), and hand the request to the application."""
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            self.stop_parser(411, "a body that does not say its length")
        self._connection.expect(Awaited.BODY)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request (called by the parser)."""
        self._connection.expect(Awaited.HEAD if self.discards_body else Awaited.NOTHING)
        super().on_message_complete()

    def reject(self, status: int, reason: str) -> None:
        """Answer once, log the reason, and close the connection after a moment."""
        self._rejection_log.tell(self._connection.address, reason)
        super().reject(status, reason)
