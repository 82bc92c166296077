"""Addresses that the server listens on."""

import socket
import time
from dataclasses import dataclass

from common.errors import NetworkError

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # all IPv4 addresses of this machine


@dataclass(frozen=True)
class Address:
    """Where stores come in: a host name or number, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def seen_from_here(self) -> "Address":
        """The same for a client on this machine."""
        return Address(LOOPBACK, self.port) if self.host == EVERYWHERE else self


def check_free(address: Address, patience: float = 0.0) -> None:
    """Raises NetworkError if nothing can listen there, also not after `patience` seconds."""
    until = time.monotonic() + patience
    while (trouble := _trouble(address)) is not None:
        if time.monotonic() > until:
            raise NetworkError(
                f"Port {address.port} on {address.host} cannot be used ({trouble}); "
                "stop what uses it or choose another --port."
            )
        time.sleep(0.1)


def _trouble(address: Address) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
