"""A chain's credentials directory, and the kits made from it."""

import ipaddress
import json
import re
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import ConfigError
from common.files import check_private, sync_directory, write_json, write_private, write_text
from common.kit import Kit, chain_id
from server.credentials.authority import AUTHORITY_LIFE, Authority, certificate_text, key_text, renew_if_due
from server.credentials.registry import CODE_LIFE, Registry, new_code, now

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_PRIVATE = ("ca.key", "server.key", "stores.json")


@dataclass(frozen=True)
class Chain:
    """The credentials in `directory` (`DIR/server`): authority, server's certificate, and stores.

    host, port: where stores find the server
    """

    directory: Path
    host: str
    port: int

    @classmethod
    def make(cls, directory: Path, host: str, port: int) -> "Chain":
        """A new chain in `directory`, which appears whole or not at all. Raises ConfigError, OSError."""
        check_host(host)
        directory.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".server."))  # mode 0700
        try:
            Authority.new(f"Fedshelf chain of {host}").save(unfinished)
            renew_if_due(unfinished, host)
            write_json(unfinished / "server.json", {"format": 1, "host": host, "port": port})
            unfinished.rename(directory)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_directory(directory.parent)
        return cls(directory, host, port)

    @classmethod
    def load(cls, directory: Path) -> "Chain":
        """That in `directory`. Raises ConfigError if there is none, it is damaged, or others could read its keys."""
        if not (directory / "server.json").is_file():
            raise ConfigError(
                f"{directory} holds no credentials; expected DIR/server of `flower-server provision --out DIR`."
            )
        for path in (directory, *(directory / name for name in _PRIVATE)):
            if path.exists():
                check_private(path)
        try:
            told = json.loads((directory / "server.json").read_bytes())
            x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
            chain = cls(directory, str(told["host"]), int(told["port"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError, FileNotFoundError) as error:
            raise ConfigError(f"The credentials in {directory} are damaged ({error}); restore them.") from None
        chain.stores.stores()
        return chain

    @property
    def stores(self) -> Registry:
        """Its stores."""
        return Registry(self.directory)

    @property
    def authority(self) -> str:
        """PEM of the certificate that stores trust."""
        return (self.directory / "ca.crt").read_text(encoding="utf-8")

    @property
    def name(self) -> str:
        """What the chain is called in kits and sentences."""
        return chain_id(self.authority)

    def client_tls(self) -> ssl.SSLContext:
        """For connections that trust this chain's certificates and no others."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority)
        return context

    def link_flags(self, directory: Path) -> list[str]:
        """Make a certificate for the SuperLink on this machine, in `directory`; its flags to serve with it.

        Made at each start, it lives as long as the authority: a SuperLink reads it only once.
        """
        directory.mkdir(mode=0o700, exist_ok=True)
        key = ec.generate_private_key(ec.SECP384R1())
        certificate = Authority.load(self.directory).issue("localhost", key, AUTHORITY_LIFE)
        write_private(directory / "link.key", key_text(key))
        write_text(directory / "link.crt", certificate_text(certificate))
        return [
            *("--ssl-ca-certfile", str(self.directory / "ca.crt")),
            *("--ssl-certfile", str(directory / "link.crt")),
            *("--ssl-keyfile", str(directory / "link.key")),
        ]

    def write_kit(self, store: str, *, with_key: bool = False, ends_old_key: bool = False) -> Path:
        """A new kit in `DIR/kits`, which is the only one of this store that works from now on. Raises OSError.

        The key that the store has now works until this kit is first used; with `ends_old_key` no longer.
        """
        path = self.kit_path(store)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        host = f"[{self.host}]" if ":" in self.host else self.host
        about = {"chain": self.name, "server": f"{host}:{self.port}", "authority": self.authority, "store": store}
        if with_key:
            key = ec.generate_private_key(ec.SECP384R1())
            Kit.model_validate({**about, "private_key": key_text(key)}).write(path)
            self.stores.admit(store, public_text(key.public_key()), ends_old_key=ends_old_key)
        else:
            code, until = new_code(), now() + CODE_LIFE
            Kit.model_validate({**about, "code": code, "until": until}).write(path)
            self.stores.invite(store, code, until, ends_old_key=ends_old_key)  # last: whom the chain knows has a kit
        return path

    def kit_path(self, store: str) -> Path:
        """Where the kit of a store is written."""
        return self.directory.parent / "kits" / f"{store}.kit"


def public_text(key: ec.EllipticCurvePublicKey) -> str:
    """A public key in OpenSSH's text form, which Flower's registration takes."""
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def check_host(host: str) -> None:
    """Raises ConfigError unless `host` is a name or number by which stores can reach a machine."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise ConfigError(
                f"--host got {host!r}; expected the name or number by which stores reach the server, "
                "for example shop.example."
            ) from None
