"""The page, metrics and health of a run for as long as a person wants them, server or not."""

import signal
import socket
from pathlib import Path
from types import FrameType

import uvicorn

from fedshelf.common.errors import NetworkError
from fedshelf.server.addresses import LOOPBACK, Address, listening_socket
from fedshelf.server.monitor.web import LivePage


def watch(directory: Path, port: int) -> None:
    """Serve the page of a run on a port of this machine, until SIGINT or SIGTERM.

    The directory may be moved away, and another run begin in its place: the page follows the path.

    Args:
        directory: run directory
        port:      the port

    Raises:
        NetworkError: the port is taken.
        KeyboardInterrupt: in the end.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    listening = _listen(port)
    print(f"The run as a page: http://{LOOPBACK}:{port}/", flush=True)
    if not (directory / "config.toml").is_file():
        print(
            f"There is no run in {directory} yet; the page shows it once there is one.", flush=True
        )
    uvicorn.Server(LivePage(directory).server_config()).run(sockets=[listening])
    raise KeyboardInterrupt  # uvicorn handles the signal and returns; then we end as after Ctrl-C


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listen(port: int) -> socket.socket:
    try:
        return listening_socket(Address(LOOPBACK, port))
    except OSError as error:
        raise NetworkError(
            f"Port {port} on {LOOPBACK} cannot be used ({error.strerror}); stop what uses it, such"
            " as a server's own page (--live-port), or choose another --port."
        ) from None
