"""The gateway's server: a bounded number of connections of strangers, over TLS with a renewable
certificate.

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
from fedshelf.server.gateway.bounded_http import BoundedHttp, Unread
from fedshelf.server.gateway.connections import Connection, ConnectionLimits
from fedshelf.server.gateway.handshakes import Handshakes
from fedshelf.server.ipc.file_watcher import WatchedFile

HANDSHAKE = 10.0  # seconds that a client has for the handshake
FAREWELL = 1.0  # seconds that a client has to answer when the gateway closes
BACKLOG = 1024  # connections that wait to be accepted
# so a dead machine is noticed within 20 s
UNHEARD = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2}
# seconds between two checks of the certificate, and for overdue connections
CERTIFICATE_POLL_SECONDS = 1.0


class TlsServer(uvicorn.Server):
    """Serves `config`'s app on its host and port: with the certificate in `directory`, or as plain
    HTTP if None.

    release: makes the app answer requests that it holds
    """

    def __init__(
        self,
        config: uvicorn.Config,
        directory: Path | None,
        limits: ConnectionLimits,
        log: RejectionLog,
        release: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self._release = release
        self._limits = limits
        self._log = log
        self._unread = Unread()
        self._certificate = _Certificate(directory) if directory else None
        self._handshakes = Handshakes()
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets=[])
        assert self.config.host is not None
        self._listener = listening_socket(Address(self.config.host, self.config.port), BACKLOG)
        self._listener.setblocking(False)
        self._keep(self._accept())
        self._keep(self._look_after())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and let the current ones end."""
        for task in list(self._tasks):
            task.cancel()
        self._listener.close()
        self._release()
        await super().shutdown(sockets)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError:  # too many open files, or a client that is gone already
                await asyncio.sleep(0.1)
                continue
            self._greet_soon(connection, str(address[0]))
            await asyncio.sleep(0)  # else a crowd of newcomers keeps everybody else waiting

    def _greet_soon(self, accepted: socket.socket, address: str) -> None:
        """Start the handshake with one client, if there is room for it and it does not come too
        often.
        """
        is_familiar = self._limits.is_familiar(address)
        if self._certificate and not self._handshakes.may_begin(address, is_familiar=is_familiar):
            accepted.close()
            self._log.tell(address, "too many TLS handshakes")
            return
        _keep_alive(accepted)
        connection = Connection(address, accepted.close)
        task = self._keep(self._greet(accepted, connection))
        # cancelled before it began
        task.add_done_callback(lambda task: accepted.close() if task.cancelled() else None)
        connection.abort = task.cancel
        self._limits.add(connection)

    async def _greet(self, accepted: socket.socket, connection: Connection) -> None:
        """Do the handshake with one client; uvicorn does the rest."""
        loop = asyncio.get_running_loop()
        tls = self._certificate.context if self._certificate else None
        try:
            await loop.connect_accepted_socket(
                lambda: self._protocol(connection),
                accepted,
                ssl=tls,
                ssl_handshake_timeout=HANDSHAKE if tls else None,
                ssl_shutdown_timeout=FAREWELL if tls else None,
            )
        except (OSError, asyncio.CancelledError) as error:
            accepted.close()
            self._limits.remove(connection)
            if why := _why(error):
                self._log.tell(connection.address, why)

    def _protocol(self, connection: Connection) -> asyncio.Protocol:
        return BoundedHttp(
            self.config,
            self.server_state,
            self.lifespan.state,
            connection=connection,
            limits=self._limits,
            log=self._log,
            unread=self._unread,
        )

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_POLL_SECONDS)
            self._limits.end_late()
            if self._certificate:
                self._certificate.renew()

    def _keep(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _keep_alive(accepted: socket.socket) -> None:
    """Let the operating system notice a client that has vanished while a request of its is held."""
    with contextlib.suppress(OSError):  # it is gone already
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in UNHEARD.items():
            if (number := getattr(socket, option, None)) is not None:
                accepted.setsockopt(socket.IPPROTO_TCP, number, value)


class _Certificate:
    """The certificate in `directory`, and the TLS context of new connections."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "server.crt"
        self._watched = WatchedFile(self._path)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # each costs a handshake's work, whenever a client wants
        self.context.options |= ssl.OP_NO_RENEGOTIATION
        self._load()

    def renew(self) -> None:
        """Use the current certificate for new connections."""
        if self._watched.has_changed():
            self._load()

    def _load(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.context.load_cert_chain(self._path, self._path.with_suffix(".key"))


def _why(error: BaseException) -> str:
    """Return the reason of a failed handshake in words; empty if it means nothing."""
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
