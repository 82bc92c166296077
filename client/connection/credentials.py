"""A store's credentials: the address of its server and the key that proves its identity."""

import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.system.files import write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from fedshelf.client.connection.known_addresses import KnownAddresses


_PROCESS_NONCE = secrets.token_hex(16)


@dataclass(frozen=True)
class Credentials:
    """One store's credentials for its server.

    Attributes:
        server: HOST:PORT.
        root_certificates: PEM of the only authority that the server's certificate may come from;
            None: plain HTTP, to a server on this machine that admits anybody.
        private_key: On a NIST curve; the server has its public key. None over plain HTTP.
        node_file: File with the last Flower node id; on start, a leftover registration of a killed
            process is deactivated. None over plain HTTP.
        addresses: All addresses of the server; None: only `server`.
        process: 32 hexadecimal digits, new with each process: the server also detects a second
            process with the same key.
    """

    server: str
    root_certificates: bytes | None = None
    private_key: "EllipticCurvePrivateKey | None" = None
    node_file: Path | None = None
    addresses: "KnownAddresses | None" = None
    process: str = _PROCESS_NONCE

    @property
    def known_addresses(self) -> "KnownAddresses":
        """All known addresses of the server."""
        from fedshelf.client.connection.known_addresses import KnownAddresses

        return self.addresses or KnownAddresses((self.server,), self.root_certificates)

    def save_node_id(self, node_id: int) -> None:
        """Store the Flower node id that the server assigned. Raises OSError."""
        if self.node_file:
            write_text(self.node_file, str(node_id))

    def saved_node_id(self) -> int:
        """Return the last Flower node id; 0 if it is unknown."""
        with suppress(OSError, ValueError):
            return int(self.node_file.read_text(encoding="utf-8")) if self.node_file else 0
        return 0


def new_key() -> "EllipticCurvePrivateKey":
    """Make a key of the kind that Flower's node authentication accepts (SECP384R1)."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP384R1())
