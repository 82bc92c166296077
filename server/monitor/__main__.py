"""Server of a run's live page on this machine: `python -m fedshelf.server.monitor RUN PORT`.

It ends with the process that started it.
"""

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

LAST_PAGE_SECONDS = 2.5  # an open page asks every 2 s, and shall learn how the run ended
PAGE_OPEN_SECONDS = 5.0  # for which a page counts as open after a request


class _PageServer(uvicorn.Server):
    """A server that ends on a signal, or a moment later if a page is open.

    It waits only if the launcher is alive to wait for it.
    """

    def __init__(self, page: LivePage) -> None:
        super().__init__(page.server_config())
        self._page = page
        self._parent = os.getppid()
        self._is_asked_to_end = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on SIGINT or SIGTERM, or start the timer that does."""
        is_open = time.monotonic() - self._page.last_request_at < PAGE_OPEN_SECONDS
        if self._is_asked_to_end or not is_open or os.getppid() != self._parent:
            super().handle_exit(sig, frame)
            return
        self._is_asked_to_end = True
        timer = threading.Timer(LAST_PAGE_SECONDS, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()


def main() -> None:
    """Serve until terminated."""
    run = Path(sys.argv[1])
    port = int(sys.argv[2])
    _PageServer(LivePage(run)).run(sockets=[_listen(port)])


def _listen(port: int) -> socket.socket:
    """Return a socket on that port of this machine; wait while another program uses it."""
    while True:
        try:
            return listening_socket(Address(LOOPBACK, port))
        except OSError:
            time.sleep(1)


if __name__ == "__main__":
    main()
