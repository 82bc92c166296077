"""How connections reach the door over TLS: refused ones are logged, and a renewed certificate is taken up.

uvicorn alone drops a client that fails the TLS handshake without a word.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path

import uvicorn

from server.credentials.refusals import RefusalLog
from server.credentials.watched import Watched

HANDSHAKE = 10.0  # seconds that a client has for it
FAREWELL = 1.0  # seconds that a client has to answer when the door closes
BACKLOG = 256  # connections that wait to be accepted
LOOK = 1.0  # seconds between two looks at the certificate


class Doorway(uvicorn.Server):
    """Serves `config`'s app on its host and port with the certificate in `directory`."""

    def __init__(self, config: uvicorn.Config, directory: Path, log: RefusalLog) -> None:
        super().__init__(config)
        self._certificate, self._log = directory / "server.crt", log
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._watched = Watched(self._certificate)
        self._load()
        self._tasks: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets=[])
        assert self.config.host is not None
        self._listener = socket.create_server((self.config.host, self.config.port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._keep(self._accept())
        self._keep(self._renew())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, and let what is going on end."""
        for task in list(self._tasks):
            task.cancel()
        self._listener.close()
        await super().shutdown(sockets)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError:  # too many open files, or a client that is gone already
                await asyncio.sleep(0.1)
                continue
            self._keep(self._greet(connection, str(address[0])))

    async def _greet(self, connection: socket.socket, address: str) -> None:
        """Shake hands with one client; uvicorn does the rest."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE,
                ssl_shutdown_timeout=FAREWELL,
            )
        except (OSError, asyncio.CancelledError) as error:
            connection.close()
            if why := _why(error):
                self._log.tell(address, why)

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            if self._watched.has_changed():
                self._load()

    def _load(self) -> None:
        """New connections get the certificate that is there now."""
        with contextlib.suppress(FileNotFoundError):
            self._tls.load_cert_chain(self._certificate, self._certificate.with_suffix(".key"))

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _why(error: BaseException) -> str:
    """What a failed handshake means; empty if it means nothing."""
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
