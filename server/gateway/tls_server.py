"""The gateway's server: TLS with a renewable certificate, and a bounded number of connections.

uvicorn alone accepts connections without limit, never closes a silent one, and drops a client that
fails the TLS handshake without a log line.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path

import uvicorn

from fedshelf.server.addresses import Address, listening_socket
from fedshelf.server.credentials.rejection_log import RejectionLog
from fedshelf.server.gateway.bounded_http import BoundedHttp, DiscardRate
from fedshelf.server.gateway.connections import Connection, ConnectionLimits
from fedshelf.server.gateway.handshakes import Handshakes
from fedshelf.server.ipc.file_watcher import WatchedFile

HANDSHAKE_TIMEOUT_SECONDS = 10.0
SHUTDOWN_TIMEOUT_SECONDS = 1.0  # that a client has to answer when the gateway closes
MAX_PENDING_CONNECTIONS = 1024  # connections that wait to be accepted
# so a dead machine is noticed within 20 s
KEEPALIVE_OPTIONS = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
# between two checks of the certificate, and of overdue connections
UPKEEP_SECONDS = 1.0


class TlsServer(uvicorn.Server):
    """Serves an app on its host and port.

    Args:
        config:        uvicorn's settings, with the app
        directory:     credentials with the server's certificate; None: plain HTTP
        limits:        limits on connections
        rejection_log: log of clients that fail the handshake
        release:       function that makes the app answer the requests that it holds
    """

    def __init__(
        self,
        config: uvicorn.Config,
        directory: Path | None,
        limits: ConnectionLimits,
        rejection_log: RejectionLog,
        release: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._release = release
        self._limits = limits
        self._rejection_log = rejection_log
        self._discard_rate = DiscardRate()
        self._certificate = _Certificate(directory) if directory else None
        self._handshakes = Handshakes()
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets=[])
        assert self.config.host is not None
        self._listener = listening_socket(
            Address(self.config.host, self.config.port), MAX_PENDING_CONNECTIONS
        )
        self._listener.setblocking(False)
        self._start_task(self._accept_loop())
        self._start_task(self._upkeep_loop())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and let the current ones end."""
        for task in list(self._tasks):
            task.cancel()
        self._listener.close()
        self._release()
        await super().shutdown(sockets)

    async def _accept_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError:  # too many open files, or a client that is gone already
                await asyncio.sleep(0.1)
                continue
            self._start_handshake(connection, str(address[0]))
            await asyncio.sleep(0)  # else a crowd of newcomers keeps everybody else waiting

    def _start_handshake(self, accepted: socket.socket, address: str) -> None:
        """Start the handshake with one client, if there is room for it and it may begin one now."""
        is_familiar = self._limits.is_familiar(address)
        if self._certificate and not self._handshakes.may_begin(address, is_familiar=is_familiar):
            accepted.close()
            self._rejection_log.tell(address, "too many TLS handshakes")
            return
        _enable_keepalive(accepted)
        connection = Connection(address, accepted.close)
        task = self._start_task(self._do_handshake(accepted, connection))
        # cancelled before it began
        task.add_done_callback(lambda task: accepted.close() if task.cancelled() else None)
        connection.abort = task.cancel
        self._limits.add(connection)

    async def _do_handshake(self, accepted: socket.socket, connection: Connection) -> None:
        """Do the handshake with one client; uvicorn does the rest."""
        loop = asyncio.get_running_loop()
        tls = self._certificate.context if self._certificate else None
        try:
            await loop.connect_accepted_socket(
                lambda: self._protocol(connection),
                accepted,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_SECONDS if tls else None,
                ssl_shutdown_timeout=SHUTDOWN_TIMEOUT_SECONDS if tls else None,
            )
        except (OSError, asyncio.CancelledError) as error:
            accepted.close()
            self._limits.remove(connection)
            if reason := _handshake_error(error):
                self._rejection_log.tell(connection.address, reason)

    def _protocol(self, connection: Connection) -> asyncio.Protocol:
        return BoundedHttp(
            self.config,
            self.server_state,
            self.lifespan.state,
            connection=connection,
            limits=self._limits,
            rejection_log=self._rejection_log,
            discard_rate=self._discard_rate,
        )

    async def _upkeep_loop(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_SECONDS)
            self._limits.close_overdue()
            if self._certificate:
                self._certificate.renew()

    def _start_task(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _enable_keepalive(accepted: socket.socket) -> None:
    """Let the operating system notice a client that has vanished while a request of its is held."""
    with contextlib.suppress(OSError):  # it is gone already
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE_OPTIONS.items():
            if (option_number := getattr(socket, option, None)) is not None:
                accepted.setsockopt(socket.IPPROTO_TCP, option_number, value)


class _Certificate:
    """The server's certificate, and the TLS context of new connections.

    Args:
        directory: credentials that hold `server.crt` and `server.key`
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "server.crt"
        self._certificate_file = WatchedFile(self._path)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # each costs a handshake's work, whenever a client wants
        self.context.options |= ssl.OP_NO_RENEGOTIATION
        self._load()

    def renew(self) -> None:
        """Use the current certificate for new connections, if the file has changed."""
        if self._certificate_file.has_changed():
            self._load()

    def _load(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.context.load_cert_chain(self._path, self._path.with_suffix(".key"))


def _handshake_error(error: BaseException) -> str:
    """Return the reason of a failed handshake in words; empty if it need not be logged."""
    match error:
        case ssl.SSLError(reason="HTTP_REQUEST"):
            return "it spoke plain HTTP, not TLS"
        case ssl.SSLError(reason=str(reason)) if "ALERT" in reason:
            return "it does not trust this server's certificate: a kit of another chain, or none"
        case ssl.SSLError():
            return "it does not speak TLS as this server does"
        case TimeoutError() | ConnectionAbortedError():
            return "it did not finish the TLS handshake"
    return ""
