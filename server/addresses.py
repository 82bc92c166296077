"""Addresses that the server listens on."""

import errno
import socket
import time
from dataclasses import dataclass

from fedshelf.common.errors import NetworkError
from fedshelf.common.protocol.endpoint import Endpoint

LOOPBACK = "127.0.0.1"
EVERYWHERE = "0.0.0.0"  # all IPv4 addresses of this machine
EVERYWHERE_IPV6 = "::"  # all IPv6 addresses of this machine, and the IPv4 ones where the system can


@dataclass(frozen=True)
class Address(Endpoint):
    """An address at which the server listens for stores."""

    def seen_from_here(self) -> "Address":
        """Return the same address for a client on this machine."""
        if self.host == EVERYWHERE_IPV6:
            return Address("::1", self.port)
        return Address(LOOPBACK, self.port) if self.host == EVERYWHERE else self


def listening_socket(address: Address, backlog: int | None = None) -> socket.socket:
    """Return a socket that listens at an address, over IPv6 if its host is an IPv6 number.

    Args:
        address: host and port
        backlog: connections that may wait to be accepted; None: the system's default

    Raises:
        OSError: nobody can listen there.
    """
    is_ipv6 = ":" in address.host
    is_dual = address.host == EVERYWHERE_IPV6 and socket.has_dualstack_ipv6()
    listener = socket.create_server(
        (address.host, address.port),
        family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
        backlog=backlog,
        dualstack_ipv6=is_dual,
    )
    # Connections inherit it; asyncio sets it on sockets of its own alone. Without it the body of an
    # answer waits up to 40 ms for the other side to confirm the head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def check_free(address: Address, timeout: float = 0.0) -> None:
    """Check that somebody can listen at an address.

    Args:
        address: host and port
        timeout: seconds for another program to release it

    Raises:
        NetworkError: nobody can listen there, also not after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while (error := _bind_error(address)) is not None:
        if time.monotonic() > deadline:
            reason = error.strerror or str(error)
            raise NetworkError(
                f"Port {address.port} on {address.host} cannot be used ({reason}); {_advice(error)}"
            )
        time.sleep(0.1)


def is_free(address: Address) -> bool:
    """Return whether somebody can listen at an address now."""
    return _bind_error(address) is None


def _bind_error(address: Address) -> OSError | None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        return error
    return None


def _advice(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno in (
        errno.EADDRNOTAVAIL,
        errno.EAFNOSUPPORT,
    ):
        return "--host has to be an address of this machine: leave it out to listen at all of them."
    if error.errno in (errno.EACCES, errno.EPERM):
        return "a port below 1024 is for the machine's administrator: choose another --port."
    return "stop what uses it or choose another --port."


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
