"""A chain's credentials directory, and the kits made from it."""

import base64
import json
import re
import shutil
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.address_list import MAX_ADDRESSES, AddressList
from fedshelf.common.protocol.endpoint import Endpoint, check_host
from fedshelf.common.protocol.kit import Kit, chain_id
from fedshelf.common.system.files import (
    check_private,
    sync_directory,
    write_json,
    write_private,
    write_text,
)
from fedshelf.server.credentials.authority import (
    AUTHORITY_LIFETIME,
    Authority,
    certificate_text,
    key_text,
    renew_if_due,
)
from fedshelf.server.credentials.office import Office
from fedshelf.server.credentials.stores import CODE_LIFETIME, StoreRegister, new_code, now

# of damaged files
_DAMAGE_ERRORS = (ValueError, KeyError, TypeError, OverflowError, RecursionError, FileNotFoundError)
_PRIVATE_FILES = ("ca.key", "server.key", "stores.json")
_OFFICE_KEY_FILE = "office.pub"
_PUBLIC_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Chain:
    """The credentials of a chain: its authority, the server's certificate, and its stores.

    Attributes:
        directory:    where they lie (`DIR/server`)
        endpoints:    addresses of the server for stores, the preferred one first
        former_hosts: hosts before the server moved; its certificate stays valid for them
        move_count:   number of moves
    """

    directory: Path
    endpoints: tuple[Endpoint, ...]
    former_hosts: tuple[str, ...] = ()
    move_count: int = 0

    @classmethod
    def make(cls, directory: Path, hosts: str, port: int) -> "Chain":
        """Make a new chain in a directory, which appears whole or not at all.

        Args:
            directory: the new directory
            hosts:     host names and IP addresses of its server, comma-separated
            port:      port of its server

        Raises:
            ConfigError: a host is no host name.
            OSError: the directory cannot be written.
        """
        endpoints = endpoints_on_port(hosts, port)
        directory.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".server."))  # mode 0700
        try:
            Authority.new(f"Fedshelf chain of {endpoints[0].host}").save(unfinished)
            chain = cls(unfinished, endpoints)
            renew_if_due(unfinished, chain.hosts)
            chain._save()
            unfinished.rename(directory)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_directory(directory.parent)
        return replace(chain, directory=directory)

    @classmethod
    def load(cls, directory: Path) -> "Chain":
        """Load the chain in a directory.

        Raises:
            ConfigError: the chain is missing or damaged, or other users can read its keys.
        """
        if not (directory / "server.json").is_file():
            raise ConfigError(
                f"{directory} holds no credentials; expected the folder DIR/server of"
                " `flower-server provision --out DIR`."
            )
        for path in (directory, *(directory / name for name in _PRIVATE_FILES)):
            if path.exists():
                check_private(path)
        try:
            content = json.loads((directory / "server.json").read_bytes())
            x509.load_pem_x509_certificate(
                (directory / "ca.crt").read_text(encoding="utf-8").encode()
            )
            chain = cls._from_json(directory, content)
        except (ConfigError, *_DAMAGE_ERRORS) as error:
            raise ConfigError(
                f"The credentials in {directory} are damaged ({error}); restore them from a backup."
            ) from None
        chain.stores.stores()
        return chain

    @classmethod
    def _from_json(cls, directory: Path, content: Mapping[str, Any]) -> "Chain":
        """Build the chain from the content of `server.json`.

        Raises ConfigError, KeyError, TypeError, ValueError.
        """
        if content["format"] == 1:  # of a version in which a server could not move
            return cls(directory, (Endpoint(str(content["host"]), int(content["port"])),))
        endpoints = tuple(Endpoint.parse(str(address)) for address in content["addresses"])
        return cls(directory, endpoints, tuple(map(str, content["former"])), int(content["moves"]))

    def _save(self) -> None:
        content = {
            "addresses": list(map(str, self.endpoints)),
            "former": list(self.former_hosts),
            "moves": self.move_count,
        }
        write_json(self.directory / "server.json", {"format": 2, **content})

    @property
    def port(self) -> int:
        """The port on which the server listens by default."""
        return self.endpoints[0].port

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts that the server's certificate is for."""
        return tuple(
            dict.fromkeys([*(endpoint.host for endpoint in self.endpoints), *self.former_hosts])
        )

    def move(self, endpoints: tuple[Endpoint, ...]) -> "Chain":
        """Move the server to other endpoints; stores find it there from now on.

        The certificate is written first, so that no store is sent to an address where the server
        cannot prove its identity, and the chain's own file last: an interrupted move can be
        repeated.

        Returns:
            The moved chain.

        Raises:
            OSError: a file cannot be written.
        """
        moved = replace(
            self, endpoints=endpoints, former_hosts=self.hosts, move_count=self.move_count + 1
        )
        renew_if_due(self.directory, moved.hosts)
        unsigned = AddressList(
            chain=self.name, number=moved.move_count, addresses=tuple(map(str, endpoints))
        )
        signature = base64.b64encode(
            Authority.load(self.directory).sign(unsigned.statement)
        ).decode()
        write_text(moved.address_list, unsigned.model_copy(update={"signature": signature}).header)
        moved._save()
        return moved

    @property
    def address_list(self) -> Path:
        """The file with the signed list of addresses for stores; missing before the first move."""
        return self.directory / "addresses"

    @property
    def sessions(self) -> Path:
        """The file that names the process that speaks for each store."""
        return self.directory / "sessions.json"

    @property
    def office_directory(self) -> Path:
        """The folder in which `provision` makes the chain's office (`DIR/office`)."""
        return self.directory.parent / "office"

    @property
    def office_key(self) -> str | None:
        """The public key of the chain's office; None if the chain was made without one.

        Raises:
            ConfigError: its file is damaged.
        """
        path = self.directory / _OFFICE_KEY_FILE
        if not path.exists():
            return None
        key = path.read_text(encoding="utf-8").strip()
        if not _PUBLIC_KEY.fullmatch(key):
            raise ConfigError(
                f"{path} is damaged; restore it. It has the 64 hexadecimal digits of the office's"
                " public key."
            )
        return key

    def make_office(self, directory: Path) -> Office:
        """Make the chain's office in a new directory.

        Raises:
            ConfigError: the directory is there already.
            OSError: a file cannot be written.
        """
        office = Office.make(directory, self.name)
        write_text(self.directory / _OFFICE_KEY_FILE, office.public_key + "\n")
        return office

    def load_office(self, directory: Path | None = None) -> Office:
        """Load the chain's office.

        Args:
            directory: to which it was moved; None: DIR/office

        Raises:
            ConfigError: it is not there, is damaged, or is not this chain's.
        """
        office = Office.load(directory or self.office_directory, self.name)
        if office.public_key != self.office_key:
            raise ConfigError(
                f"The office in {office.directory} has another key than the one with which the"
                " chain's stores were certified; give the folder of that one with --office."
            )
        return office

    @property
    def revoked_peers(self) -> Path:
        """The file with the office's list of revoked peer keys; missing before the first one."""
        return self.directory / "revoked-peers.json"

    def revoked_list(self) -> bytes:
        """Return the office's list of revoked peer keys as JSON; empty before the first one."""
        return self.revoked_peers.read_bytes() if self.revoked_peers.exists() else b""

    @property
    def stores(self) -> StoreRegister:
        """The chain's stores."""
        return StoreRegister(self.directory)

    @property
    def authority(self) -> str:
        """PEM of the certificate that stores trust."""
        return (self.directory / "ca.crt").read_text(encoding="utf-8")

    @property
    def name(self) -> str:
        """The chain's identity in kits and sentences."""
        return chain_id(self.authority)

    def client_tls(self) -> ssl.SSLContext:
        """Return a TLS context that trusts this chain's certificates and no others."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.authority)
        return context

    def link_flags(self, directory: Path) -> list[str]:
        """Make a certificate for the SuperLink on this machine.

        It is made at each start and lives as long as the authority: a SuperLink reads it only once.

        Args:
            directory: folder for the certificate and its key

        Returns:
            The SuperLink's flags to use it.
        """
        directory.mkdir(mode=0o700, exist_ok=True)
        key = ec.generate_private_key(ec.SECP384R1())
        certificate = Authority.load(self.directory).issue(("localhost",), key, AUTHORITY_LIFETIME)
        write_private(directory / "link.key", key_text(key))
        write_text(directory / "link.crt", certificate_text(certificate))
        return [
            *("--ssl-ca-certfile", str(self.directory / "ca.crt")),
            *("--ssl-certfile", str(directory / "link.crt")),
            *("--ssl-keyfile", str(directory / "link.key")),
        ]

    def write_kit(
        self,
        store: str,
        *,
        with_key: bool = False,
        ends_old_key: bool = False,
        office: Office | None = None,
    ) -> Path:
        """Write a new kit into `DIR/kits`; from now on it is the only valid kit of this store.

        Args:
            store:        name of the store
            with_key:     True to put a private key into the kit, False for a code to enrol with
            ends_old_key: True to end the store's present key at once; False: it works until this
                kit is
                first used
            office:       the chain's, which certifies a new peer key for the kit; None: the kit has
                none, and the store keeps the one that it may have

        Returns:
            The path of the kit.

        Raises:
            OSError: the kit cannot be written.
        """
        path = self.kit_path(store)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        first, *others = map(str, self.endpoints)
        content: dict[str, Any] = {
            "chain": self.name,
            "server": first,
            "authority": self.authority,
            "store": store,
        }
        if others:
            content["others"] = others
        if office is not None:
            content["peer"] = office.certify(store)
        if with_key:
            key = ec.generate_private_key(ec.SECP384R1())
            Kit.model_validate({**content, "private_key": key_text(key)}).write(path)
            self.stores.admit(store, public_key_text(key.public_key()), ends_old_key=ends_old_key)
        else:
            code = new_code()
            until = now() + CODE_LIFETIME
            Kit.model_validate({**content, "code": code, "until": until}).write(path)
            # last: each known store has a kit
            self.stores.invite(store, code, until, ends_old_key=ends_old_key)
        return path

    @property
    def kits_directory(self) -> Path:
        """The folder with the kits (`DIR/kits`)."""
        return self.directory.parent / "kits"

    def kit_path(self, store: str) -> Path:
        """Return the path of a store's kit."""
        return self.kits_directory / f"{store}.kit"


def public_key_text(key: ec.EllipticCurvePublicKey) -> str:
    """Return a public key in OpenSSH's text form, which Flower's registration takes."""
    return key.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).decode()


def endpoints_on_port(hosts: str, port: int) -> tuple[Endpoint, ...]:
    """Return the endpoints of a server with several hosts on one port.

    Args:
        hosts: host names and IP addresses, comma-separated
        port:  the port

    Raises:
        ConfigError: a host is no host name, or there are too many.
    """
    names = [host.strip() for host in hosts.split(",")]
    for name in names:
        check_host(name, "--host")
    _check_count(names, "--host")
    return tuple(Endpoint(name, port) for name in dict.fromkeys(names))


def parse_endpoints(addresses: str) -> tuple[Endpoint, ...]:
    """Return the endpoints in a list of HOST:PORT, comma-separated.

    Raises:
        ConfigError: one is no HOST:PORT, or there are too many.
    """
    endpoints = [Endpoint.parse(address.strip(), "--to") for address in addresses.split(",")]
    _check_count(endpoints, "--to")
    return tuple(dict.fromkeys(endpoints))


def _check_count(addresses: Sequence[object], flag: str) -> None:
    if len(addresses) > MAX_ADDRESSES:
        raise ConfigError(
            f"{flag} got {len(addresses)} addresses; a store tries at most {MAX_ADDRESSES}:"
            " give fewer."
        )
