"""Many unknown clients, which are slow or send a lot.

    python -m benchmarks.strange_clients KIND PORT AUTHORITY

They connect from addresses of this machine to the server at PORT, whose certificate is from the
authority in the file AUTHORITY. They print "ready" once all are connected, and run until they are
ended. Connections that the server ends are opened again, at most 100 a second.

    KIND: slow       1,500 connections that send nothing, 500 that send half of a request
          bodies     25 requests with bodies of 8 MB, 200 MB in all; the last byte never comes
          headers    one client that sends requests with 20,000 headers, one after the other
          handshakes 1,000 TLS handshakes a second that are begun and not finished, which cost
                     the clients next to nothing
"""

import itertools
import resource
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

MAX_OPEN_FILES = 8192
HANDSHAKES_PER_SECOND = 1000.0


def allow_files(count: int) -> None:
    """Let this process open `count` files, or as many as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


class Strangers:
    """Connections to a port; a context manager that closes them.

    Args:
        port: the server's port on this machine
        tls: context for handshakes
        first: number of the first address from which they connect
    """

    def __init__(self, port: int, tls: ssl.SSLContext, first: int = 0) -> None:
        self._port = port
        self._tls = tls
        self._made = first
        self._hello = b""
        self.connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self.connections:
            connection.close()

    def silent(self, count: int) -> None:
        """Connect `count` times, each time from another address, and send nothing."""
        for _ in range(count):
            self._connect()

    def half_said(self, count: int) -> None:
        """Connect `count` times, do the handshake, and send half of a request."""
        for _ in range(count):
            self._greet().sendall(b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\nx-half: ")

    def bodies(self, count: int, size: int) -> None:
        """Send requests with large bodies, as much of each as the server takes before it answers.

        Args:
            count: number of requests
            size: bytes of a body
        """
        for _ in range(count):
            connection = self._greet()
            with suppress(OSError):  # not taken
                connection.sendall(
                    b"POST /v1/fleet/push-object HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
                    % size
                )
                connection.sendall(bytes(size - 1))

    def many_headers(self) -> None:
        """Send a request with 20,000 headers, and wait for an answer."""
        connection = self._greet()
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n")
        connection.sendall(b"".join(b"a%d: b\r\n" % number for number in range(20_000)))
        connection.recv(1)

    def hello(self) -> None:
        """Send the beginning of a handshake.

        The server has to answer it before it knows who sent it.
        """
        if not self._hello:
            outgoing = ssl.MemoryBIO()
            handshake = self._tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
            with suppress(ssl.SSLWantReadError):
                handshake.do_handshake()
            self._hello = outgoing.read()
        self._connect().sendall(self._hello)

    def drop_oldest(self, most: int) -> None:
        """Close the oldest connections, so that `most` remain."""
        for connection in self.connections[:-most]:
            connection.close()
        del self.connections[:-most]

    def forget_ended(self) -> int:
        """Close the connections that the server has ended, and return their number."""
        waiting = select.poll()
        before = len(self.connections)
        for connection in self.connections:
            if connection.fileno() >= 0:
                waiting.register(connection, select.POLLRDHUP)
        ended_files = {number for number, _ in waiting.poll(0)}
        for connection in self.connections:
            if connection.fileno() in ended_files:
                connection.close()
        self.connections = [
            connection for connection in self.connections if connection.fileno() >= 0
        ]
        return before - len(self.connections)

    def _connect(self) -> socket.socket:
        number = self._made = self._made + 1
        address = f"127.{1 + number // 62_500 % 250}.{1 + number // 250 % 250}.{1 + number % 250}"
        connection = socket.create_connection(
            ("127.0.0.1", self._port), timeout=30, source_address=(address, 0)
        )
        self.connections.append(connection)
        return connection

    def _greet(self) -> ssl.SSLSocket:
        connection = self._tls.wrap_socket(self._connect(), server_hostname="localhost")
        self.connections[-1] = connection
        return connection


def sockets_of(process_id: int) -> int:
    """Return the number of sockets that a process has open."""
    count = 0
    for file in Path(f"/proc/{process_id}/fd").iterdir():
        with suppress(FileNotFoundError):
            count += str(file.readlink()).startswith("socket:")
    return count


def slow(connect: Callable[[], Strangers], ready: Callable[[], None]) -> None:
    """Keep 2,000 slow connections open, for ever."""
    strangers = connect()
    missing = 0
    strangers.silent(1500)
    for _ in range(500):
        with suppress(OSError):
            strangers.half_said(1)
    ready()
    while True:
        time.sleep(0.1)
        missing += strangers.forget_ended()
        num_again = min(missing, 10)
        strangers.silent(num_again)
        missing -= num_again


def bodies(connect: Callable[[], Strangers], ready: Callable[[], None]) -> None:
    """Send 25 endless bodies at the same time, again and again, for ever."""
    begun = threading.Barrier(26)

    def send() -> None:
        begun.wait()
        while True:
            with connect() as strangers, suppress(OSError):
                strangers.bodies(1, 8_000_000)
                while strangers.connections[0].recv(1000):
                    pass

    for _ in range(25):
        threading.Thread(target=send, daemon=True).start()
    begun.wait()
    ready()
    threading.Event().wait()


def headers(connect: Callable[[], Strangers], ready: Callable[[], None]) -> None:
    """Send requests with 20,000 headers, for ever."""
    ready()
    while True:
        with connect() as strangers, suppress(OSError):
            strangers.many_headers()


def handshakes(connect: Callable[[], Strangers], ready: Callable[[], None]) -> None:
    """Begin handshakes, 1,000 a second at the most, for ever."""
    strangers = connect()
    due = time.monotonic()
    ready()
    while True:
        with suppress(OSError):
            strangers.hello()
        strangers.drop_oldest(500)
        due = max(due + 1 / HANDSHAKES_PER_SECOND, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))


KINDS = {"slow": slow, "bodies": bodies, "headers": headers, "handshakes": handshakes}


def main() -> None:
    """Run the clients of one kind."""
    kind, port, authority = sys.argv[1:]
    allow_files(MAX_OPEN_FILES)
    tls = ssl.create_default_context(cafile=authority)
    counter = itertools.count()
    KINDS[kind](
        lambda: Strangers(int(port), tls, first=1000 * next(counter)),
        lambda: print("ready", flush=True),
    )


if __name__ == "__main__":
    main()
