"""A link between stores and server that can be slow, cut, silent, or lose answers: a TCP proxy in a
thread.
"""

import asyncio
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Any, Self

PIECE = 16 * 1024  # bytes passed on at a time: connections share a slow link in turns of this
BUFFER = 64 * 1024  # bytes of one connection that wait at the link's end
_REQUEST = re.compile(rb"POST [\w/-]*/([\w-]+) HTTP/1")


@dataclass
class _Connection:
    """Its two ends, which request it carries (plain HTTP only), and whether to lose the answer to
    it.
    """

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    request: str = ""
    is_lossy: bool = False

    def reset(self) -> None:
        """End it at once, as a machine does that knows nothing of it."""
        for writer in (self.near, self.far):
            with suppress(OSError):  # it may be closed already
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            writer.transport.abort()


class Link:
    """Passes TCP connections to its own `port` of this machine on to `target`, as a context
    manager.

    up, down: bytes passed on, to the server and to stores
    asked: requests passed on, by the last part of their paths (plain HTTP only)
    lost: answers lost, likewise
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.up = 0
        self.down = 0
        self.asked = Counter[str]()
        self.lost = Counter[str]()
        self._target = target
        self._every = 0
        self._bits = {True: 0.0, False: 0.0}  # a second that are let through, by way, up being True
        # when all that was let onto the link has left it, by way
        self._free = {True: 0.0, False: 0.0}
        self._connections = list[_Connection]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._heard = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut()
        self._do(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def throttle(self, *, up: float = 0.0, down: float = 0.0) -> None:
        """Let so many bits a second through, each way; 0: as many as come."""
        self._bits = {True: up, False: down}

    def cut(self) -> None:
        """Reset all connections and refuse new ones, until `mend`."""
        self._do(self._cut())

    def silence(self) -> None:
        """Pass nothing on until `mend`, and say nothing: what was sent comes late then, asked for
        or not.
        """
        self._loop.call_soon_threadsafe(self._heard.clear)

    def lose_answers(self, every: int) -> None:
        """Of each `every` answers to one kind of request in a row, lose one, of the first ones the
        first; 0: none.

        Which one changes from row to row: a store that asks as regularly as it is asked would else
        lose the same answer each time, and never have it.
        """
        self._every = every

    def mend(self) -> None:
        """End `cut` and `silence`."""
        self._do(self._listen())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._heard.set()
        if self.port and self._server.is_serving():
            return
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=PIECE)

    async def _cut(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.reset()
        self._heard.set()

    async def _finish(self) -> None:
        """Let all connections come to their end."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._heard.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self._target, limit=PIECE
            )
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, far_writer)
        self._connections.append(connection)
        try:
            await asyncio.gather(
                self._upwards(reader, connection), self._downwards(far_reader, connection)
            )
        except OSError:
            connection.reset()
        self._connections.remove(connection)

    async def _upwards(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(PIECE):
            await self._cross(len(data), up=True)
            if found := _REQUEST.match(data):
                connection.request = found[1].decode()
                connection.is_lossy = self._is_lost(
                    connection.request, self.asked[connection.request]
                )
                self.asked[connection.request] += 1
            self.up += len(data)
            connection.far.write(data)
            await connection.far.drain()
        connection.far.close()

    def _is_lost(self, request: str, number: int) -> bool:
        if not self._every:
            return False
        row, place = divmod(number, self._every)
        return place == (Random(f"{request} {row}").randrange(self._every) if row else 0)

    async def _downwards(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(PIECE):
            await self._cross(len(data), up=False)
            request, connection.request = connection.request, ""
            if request and connection.is_lossy:
                self.lost[request] += 1
                raise ConnectionResetError
            self.down += len(data)
            connection.near.write(data)
            await connection.near.drain()
        connection.near.close()

    async def _cross(self, size: int, *, up: bool) -> None:
        """Wait while so many bytes cross the link."""
        if bits := self._bits[up]:
            now = self._loop.time()
            self._free[up] = max(now, self._free[up]) + 8 * size / bits
            await asyncio.sleep(self._free[up] - now)
        await self._heard.wait()
