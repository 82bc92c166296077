"""How a store reaches its server and proves who it is."""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.system.files import write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from fedshelf.client.connection.known_addresses import KnownAddresses


_PROCESS = secrets.token_hex(16)


@dataclass(frozen=True)
class Credentials:
    """One store's side of the line to its server.

    server:            HOST:PORT
    root_certificates: PEM of the only authority that the server's certificate may come from;
                       None is plain HTTP, to a server on this machine that takes in whoever comes
    private_key:       on a NIST curve; the server has registered its public half. None over plain HTTP
    node_file:         holds what the server called this store last: whoever comes after a process that
                       was killed takes leave for it. None over plain HTTP
    addresses:         all addresses of the server; None: only `server`
    process:           32 hexadecimal digits, new with each process: the server notices a copy that is at work, too
    """

    server: str
    root_certificates: bytes | None = None
    private_key: "EllipticCurvePrivateKey | None" = None
    node_file: Path | None = None
    addresses: "KnownAddresses | None" = None
    process: str = _PROCESS

    @property
    def known_addresses(self) -> "KnownAddresses":
        """All that is known of where the server is."""
        from fedshelf.client.connection.known_addresses import KnownAddresses

        return self.addresses or KnownAddresses((self.server,), self.root_certificates)

    def note_node(self, number: int) -> None:
        """Keep what the server calls this store. Raises OSError."""
        if self.node_file:
            write_text(self.node_file, str(number))

    def noted_node(self) -> int:
        """What the server called this store last; 0 if that is not known."""
        with suppress(OSError, ValueError):
            return int(self.node_file.read_text(encoding="utf-8")) if self.node_file else 0
        return 0


def new_key() -> "EllipticCurvePrivateKey":
    """A key of the kind that Flower's node authentication takes."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP384R1())
