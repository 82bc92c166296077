"""A server of one canned answer that remembers what it was sent; over TLS with certificates made on
the spot.
"""

import ipaddress
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority with one server certificate for 127.0.0.1, and for `name` if it is
    given.
    """

    def __init__(
        self,
        place: Path,
        *,
        starts: float = -1,
        days: float = 100,
        address: str = "127.0.0.1",
        name: str = "",
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._place = place
        root = self._certificate("root", key, "root", key, -2, 400, authority=True)
        own = ec.generate_private_key(ec.SECP256R1())
        shown = self._certificate(
            "server", own, "root", key, starts, days, address=address, host=name
        )
        self.pem = root.public_bytes(serialization.Encoding.PEM)
        plain = serialization.NoEncryption()
        secret = own.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
        )
        place.write_bytes(shown.public_bytes(serialization.Encoding.PEM) + secret)

    @staticmethod
    def _certificate(
        name: str,
        key: ec.EllipticCurvePrivateKey,
        by: str,
        signer: ec.EllipticCurvePrivateKey,
        starts: float,
        days: float,
        *,
        address: str = "",
        host: str = "",
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, by)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=starts))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
                critical=False,
            )
        )
        if address:
            names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
            names += [x509.DNSName(host)] if host else []
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._place)
        return context


class Canned:
    """Answers every connection with the same bytes; `heard` has all that was received, decrypted.

    second: what the first connection is answered when it says something again
    """

    def __init__(
        self, answer: bytes, context: ssl.SSLContext | None = None, second: bytes = b""
    ) -> None:
        self.heard: list[bytes] = []
        self._answer = answer
        self._context = context
        self._second = second
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self._talk(connection)
                except OSError:
                    continue

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True)
        self.heard.append(connection.recv(65536))
        connection.sendall(self._answer)
        while rest := connection.recv(65536):  # until it hangs up
            self.heard.append(rest)
            if self._second and len(self.heard) == 2:
                connection.sendall(self._second)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def http(status: str = "200 OK", ahead: float = 0.0) -> bytes:
    """An HTTP answer whose clock is `ahead` seconds ahead of ours."""
    date = (datetime.now(UTC) + timedelta(seconds=ahead)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: 2\r\n\r\nok".encode()
