"""Serves the live page of a run on this machine: `python -m fedshelf.server.monitor RUN PORT`. Ends with whoever
started it."""

import os
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import uvicorn

from fedshelf.server.addresses import LOOPBACK, Address, listening_socket
from fedshelf.server.monitor.web import LivePage

LAST_PAGE_SECONDS = 2.5  # seconds; an open page asks every 2 s, and is to learn how the run ended
PAGE_OPEN_SECONDS = 5.0  # seconds for which a page that asked counts as open


class _Server(uvicorn.Server):
    """Ends on a signal, a moment later if a page is open and the launcher is alive to wait for us."""

    def __init__(self, page: LivePage) -> None:
        super().__init__(page.server_config())
        self._page, self._parent, self._asked = page, os.getppid(), False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called on SIGINT and SIGTERM."""
        is_open = time.monotonic() - self._page.asked < PAGE_OPEN_SECONDS
        if self._asked or not is_open or os.getppid() != self._parent:
            super().handle_exit(sig, frame)
            return
        self._asked = True
        timer = threading.Timer(LAST_PAGE_SECONDS, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()


def main() -> None:
    """Serve until terminated."""
    run, port = Path(sys.argv[1]), int(sys.argv[2])
    _Server(LivePage(run)).run(sockets=[_listen(port)])


def _listen(port: int) -> socket.socket:
    """A socket on that port of this machine; another program may have to let go of it first."""
    while True:
        try:
            return listening_socket(Address(LOOPBACK, port))
        except OSError:
            time.sleep(1)


if __name__ == "__main__":
    main()
