"""A TCP proxy on this machine that counts the bytes between stores and a server."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

PIECE_BYTES = 64 * 1024  # passed on at a time


class Wire:
    """Proxy that passes connections on to a port of this machine; a context manager.

    It listens on `port`. If the target does not answer, it refuses connections. `up` and `down` are
    the bytes passed on so far, to the server and to stores: all that TCP carries, encrypted or not.

    Args:
        target: the server's port
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.up = 0
        self.down = 0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _finish(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(
                self._pass(reader, far_writer, "up"), self._pass(far_reader, writer, "down")
            )
        except OSError:  # one end is gone: so is the other
            pass
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        while data := await reader.read(PIECE_BYTES):
            setattr(self, way, getattr(self, way) + len(data))
            writer.write(data)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()


__all__ = ["Wire"]
