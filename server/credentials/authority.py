"""The chain's certificate authority, and the certificates that it issues to its own server."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedshelf.common.system.files import write_private, write_text

AUTHORITY_LIFETIME = timedelta(days=3650)  # stores trust the authority in their kit for as long
AUTHORITY_WARNING_TIME = timedelta(days=180)  # time left from which people are told of its end
SERVER_LIFETIME = timedelta(days=90)
RENEWAL_TIME = timedelta(days=30)  # a server's certificate is renewed when less than this is left
_CLOCK_TOLERANCE = timedelta(days=1)  # certificates are valid from a day ago: clocks differ
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class Authority:
    """A certificate authority with its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def new(cls, name: str) -> "Authority":
        """Make a new authority.

        Args:
            name: its common name, cut to 64 characters
        """
        key = ec.generate_private_key(ec.SECP384R1())
        now = datetime.now(UTC)
        name_attributes = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        certificate = (
            _builder(name_attributes, name_attributes, key.public_key(), now + AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA384())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, directory: Path) -> "Authority":
        """Load the authority in a directory.

        Raises:
            OSError: its files cannot be read.
            ValueError: they hold no certificate or key.
        """
        key = load_key((directory / "ca.key").read_text(encoding="utf-8"))
        return cls(x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes()), key)

    def save(self, directory: Path) -> None:
        """Write `ca.crt` and `ca.key` into a directory."""
        write_private(directory / "ca.key", key_text(self._key))
        write_text(directory / "ca.crt", self.text)

    @property
    def text(self) -> str:
        """The certificate as PEM."""
        return certificate_text(self.certificate)

    def issue(
        self, hosts: tuple[str, ...], key: ec.EllipticCurvePrivateKey, lifetime: timedelta
    ) -> x509.Certificate:
        """Issue a certificate for a server.

        Args:
            hosts:    host names and IP addresses of the server; this machine's own are added
            key:      the server's key
            lifetime: how long it is valid; never longer than the authority's own certificate
        """
        until = min(datetime.now(UTC) + lifetime, self.certificate.not_valid_after_utc)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
        return (
            _builder(subject, self.certificate.subject, key.public_key(), until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_subject_names((*hosts, *LOCAL_HOSTS)), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA384())
        )

    def sign(self, statement: bytes) -> bytes:
        """Return the authority's signature (ECDSA with SHA-384) over a statement."""
        return self._key.sign(statement, ec.ECDSA(hashes.SHA384()))


def renew_if_due(directory: Path, hosts: tuple[str, ...]) -> bool:
    """Renew the server's certificate if it is missing, near its end, or not for all hosts.

    `server.key` stays the same (and is made if it is missing): certificate and key never mismatch.

    Args:
        directory: credentials, which hold `server.crt`
        hosts:     host names and IP addresses that the certificate has to name

    Returns:
        True if it was renewed.
    """
    certificate = directory / "server.crt"
    key_file = directory / "server.key"
    if key_file.exists() and certificate.exists():
        current = x509.load_pem_x509_certificate(certificate.read_bytes())
        if current.not_valid_after_utc - datetime.now(UTC) > RENEWAL_TIME and _is_for(
            current, hosts
        ):
            return False
    if not key_file.exists():
        write_private(key_file, key_text(ec.generate_private_key(ec.SECP384R1())))
    key = load_key(key_file.read_text(encoding="utf-8"))
    write_text(
        certificate, certificate_text(Authority.load(directory).issue(hosts, key, SERVER_LIFETIME))
    )
    return True


def load_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Return the private key in a PEM text.

    Raises:
        ValueError: the text holds no key on an elliptic curve.
    """
    key = serialization.load_pem_private_key(text.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not a key on an elliptic curve")
    return key


def key_text(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as PEM."""
    private_format = serialization.PrivateFormat.PKCS8
    return key.private_bytes(
        serialization.Encoding.PEM, private_format, serialization.NoEncryption()
    ).decode()


def certificate_text(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - _CLOCK_TOLERANCE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_for(certificate: x509.Certificate, hosts: Sequence[str]) -> bool:
    certificate_names = certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value
    return set(_subject_names(hosts)) <= set(certificate_names)


def _subject_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)
