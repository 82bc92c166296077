"""The service's process: its socket, its signals, and its orderly end.

SIGTERM and SIGINT: requests under way are answered, new ones get 503, then the process ends.
SIGHUP: the model is loaded anew. Between requests nothing runs: no timer, no loop.
"""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn

from fedshelf.client.service.app import service_app
from fedshelf.client.service.page_files import page_paths
from fedshelf.client.service.photo_endpoints import classify_endpoint
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.access import Access
from fedshelf.client.service.requests.api_keys import ApiKeys
from fedshelf.client.service.requests.connection import ServiceProtocol
from fedshelf.common.errors import ConfigError, NetworkError
from fedshelf.common.protocol.endpoint import Endpoint

DRAIN_SECONDS = 40.0  # longer than a request may take
KEEP_ALIVE_SECONDS = 15  # that an idle connection stays open
_OWN_HOSTS = ("localhost", "127.0.0.1", "::1")


class ServiceServer(uvicorn.Server):
    """Serves one service until a signal ends it.

    Args:
        service: answers
        keys: of the clients; without any, requests for other host names are refused
        on_start: called once requests are answered
    """

    def __init__(
        self, service: PhotoService, keys: ApiKeys, on_start: Callable[[], object]
    ) -> None:
        self._service = service
        self._access = Access(
            service_app(service),
            direct={("POST", "/v1/classify"): classify_endpoint(service)},
            keys=keys,
            hosts=None if keys.are_needed else _OWN_HOSTS,
            metrics=service.metrics,
            open_paths=page_paths(),
        )
        self._on_start = on_start
        self._end = asyncio.Event()
        protocol = partial(ServiceProtocol, limits=service.limits)
        super().__init__(
            uvicorn.Config(
                self._access,
                http=cast(Any, protocol),
                ws="none",
                lifespan="off",
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=5,
            )
        )

    def stop(self) -> None:
        """Refuse new requests, and end once those under way are answered."""
        self._access.is_stopping = True
        self._end.set()

    async def main_loop(self) -> None:
        """Wait for the end, and for the requests that are under way then."""
        self._on_start()
        await self._end.wait()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._access.wait_until_answered()
        except TimeoutError:
            pass  # uvicorn cancels what is left

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals until the context ends; only a process's main thread gets any."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self._service.model.reload,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)


def bind(host: str, port: int, keys: ApiKeys) -> socket.socket:
    """Return a socket that is bound to an address.

    Args:
        host: a name or number of this machine
        port: 0: a free one
        keys: without any, only loopback may be bound

    Raises:
        ConfigError: others could reach a service without keys.
        NetworkError: nobody can listen there.
    """
    if not keys.are_needed and not Endpoint(host, port).is_on_this_machine:
        raise ConfigError(
            f"--host got {host}, where everybody on the network could use the model; give API keys"
            " (--key-file), or serve this machine alone (127.0.0.1)."
        )
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise NetworkError(
            f"Port {port} on {host} cannot be used ({error.strerror or error}); choose another"
            " --port, or stop the program that uses it."
        ) from None
    # Connections inherit it; asyncio sets it on sockets of its own alone. Without it the body of an
    # answer waits 40 ms for the client to confirm the head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(
    service: PhotoService, keys: ApiKeys, listener: socket.socket, on_start: Callable[[], object]
) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Args:
        service: answers
        keys: of the clients
        listener: see `bind`
        on_start: called once requests are answered
    """

    async def run() -> None:
        await ServiceServer(service, keys, on_start).serve(sockets=[listener])

    loop_factory = uvicorn.Config(service_app).get_loop_factory()  # uvloop, if it is there
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(run())
