"""A SOCKS5 proxy (RFC 1928) that leads every connection to one place, and remembers where it was
asked to.
"""

import select
import socket
import threading
from contextlib import suppress

GRANTED = 0
HOST_UNREACHABLE = 4


class SocksServer:
    """Answers on a port of this machine; leads to `to`, or refuses with `reply` where that is not
    GRANTED.
    """

    def __init__(self, to: tuple[str, int], reply: int = GRANTED) -> None:
        self.asked: list[tuple[str, int]] = []
        self._to = to
        self._reply = reply
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError):
            stream = client.makefile("rb")
            version, count = stream.read(2)
            assert version == 5
            assert 0 in stream.read(count), "the client offers to come without a password"
            client.sendall(bytes([5, 0]))
            _, command, _, kind = stream.read(4)
            assert command == 1, "it asks for a connection"
            host = (
                stream.read(stream.read(1)[0]).decode()
                if kind == 3
                else socket.inet_ntoa(stream.read(4))
            )
            self.asked.append((host, int.from_bytes(stream.read(2), "big")))
            client.sendall(bytes([5, self._reply, 0, 1, 0, 0, 0, 0, 0, 0]))
            if self._reply == GRANTED:
                with socket.create_connection(self._to) as server:
                    _join(client, server)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def _join(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side hangs up."""
    ways = {one: other, other: one}
    while True:
        for ready in select.select(list(ways), [], [])[0]:
            if not (taken := ready.recv(65536)):
                return
            ways[ready].sendall(taken)
