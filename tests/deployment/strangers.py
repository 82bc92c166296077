"""Many clients that nobody knows: they connect from addresses of this machine's own, and are slow or send a lot."""

import resource
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self


def allow_files(count: int) -> None:
    """Let this process have that many files open, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


class Strangers:
    """Connections to a port, as a context manager that closes them. `tls`: with which they shake hands, if they do."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self._port, self._tls = port, tls
        self.connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self.connections:
            connection.close()

    def silent(self, count: int) -> None:
        """Connect so many times, each time from another address, and say nothing."""
        for _ in range(count):
            self._connect()

    def half_said(self, count: int) -> None:
        """Connect so many times, shake hands, and send half of a request."""
        for _ in range(count):
            self._greet().sendall(b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\nx-half: ")

    def bodies(self, count: int, size: int) -> None:
        """Send so many requests with bodies of `size` bytes, as much as is taken of each before it is answered."""
        for _ in range(count):
            connection = self._greet()
            with suppress(OSError):  # not taken
                connection.sendall(
                    b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size
                )
                connection.sendall(bytes(size - 1))

    def _connect(self) -> socket.socket:
        number = len(self.connections)
        address = f"127.{1 + number // 62_500}.{1 + number // 250 % 250}.{1 + number % 250}"
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30, source_address=(address, 0))
        self.connections.append(connection)
        return connection

    def _greet(self) -> ssl.SSLSocket:
        connection = self._tls.wrap_socket(self._connect(), server_hostname="localhost")
        self.connections[-1] = connection
        return connection


def sockets_of(process_id: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for file in Path(f"/proc/{process_id}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(file.readlink()).startswith("socket:")
    return count
