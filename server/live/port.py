"""Where the live page is served: on this machine, at a port that is free."""

import itertools
import socket

from server.addresses import LOOPBACK

NEXT = 20  # ports that are tried in turn, before the system picks one


def free_port(preferred: int) -> int:
    """`preferred`, or the next port after it that nobody listens on. A run never fails for want of its page's port."""
    last = min(preferred + NEXT, 65536)
    return next(port for candidate in itertools.chain(range(preferred, last), [0]) if (port := _bound(candidate)))


def _bound(port: int) -> int:
    """The port if a program may listen there (for 0, one that the system picks), else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])
