"""A chain's credentials directory, and the kits made from it."""

import base64
import json
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
    AUTHORITY_LIFE,
    Authority,
    certificate_text,
    key_text,
    renew_if_due,
)
from fedshelf.server.credentials.stores import CODE_LIFE, StoreRegister, new_code, now

# of damaged files
_DAMAGE = (ValueError, KeyError, TypeError, OverflowError, RecursionError, FileNotFoundError)
_PRIVATE = ("ca.key", "server.key", "stores.json")


@dataclass(frozen=True)
class Chain:
    """The credentials in `directory` (`DIR/server`): authority, server's certificate, and stores.

    endpoints: addresses of the server for stores, the preferred one first
    former:    hosts before the server moved; its certificate stays valid for them
    moves:     number of moves
    """

    directory: Path
    endpoints: tuple[Endpoint, ...]
    former: tuple[str, ...] = ()
    moves: int = 0

    @classmethod
    def make(cls, directory: Path, hosts: str, port: int) -> "Chain":
        """Make a new chain in `directory`, which appears whole or not at all.

        Raises ConfigError, OSError.

        hosts: host names and IP addresses of its server, comma-separated
        """
        endpoints = endpoints_of(hosts, port)
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
        """Load the chain in `directory`.

        Raises ConfigError if it is missing, damaged, or others can read its keys.
        """
        if not (directory / "server.json").is_file():
            raise ConfigError(
                f"{directory} holds no credentials; expected DIR/server of `flower-server provision"
                " --out DIR`."
            )
        for path in (directory, *(directory / name for name in _PRIVATE)):
            if path.exists():
                check_private(path)
        try:
            told = json.loads((directory / "server.json").read_bytes())
            x509.load_pem_x509_certificate(
                (directory / "ca.crt").read_text(encoding="utf-8").encode()
            )
            chain = cls._of(directory, told)
        except (ConfigError, *_DAMAGE) as error:
            raise ConfigError(
                f"The credentials in {directory} are damaged ({error}); restore them."
            ) from None
        chain.stores.stores()
        return chain

    @classmethod
    def _of(cls, directory: Path, told: Mapping[str, Any]) -> "Chain":
        """Build the chain from the content of `server.json`.

        Raises ConfigError, KeyError, TypeError, ValueError.
        """
        if told["format"] == 1:  # of a version in which a server could not move
            return cls(directory, (Endpoint(str(told["host"]), int(told["port"])),))
        endpoints = tuple(Endpoint.parse(str(each)) for each in told["addresses"])
        return cls(directory, endpoints, tuple(map(str, told["former"])), int(told["moves"]))

    def _save(self) -> None:
        told = {
            "addresses": list(map(str, self.endpoints)),
            "former": list(self.former),
            "moves": self.moves,
        }
        write_json(self.directory / "server.json", {"format": 2, **told})

    @property
    def port(self) -> int:
        """The port on which the server listens by default."""
        return self.endpoints[0].port

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts that the server's certificate is for."""
        return tuple(dict.fromkeys([*(each.host for each in self.endpoints), *self.former]))

    def move(self, endpoints: tuple[Endpoint, ...]) -> "Chain":
        """Move the server to `endpoints`: stores find it there from now on. Return the moved chain.

        The certificate is written first, so that no store is sent to an address where the server
        cannot prove its identity, and the chain's own file last: an interrupted move can be
        repeated. Raises OSError.
        """
        moved = replace(self, endpoints=endpoints, former=self.hosts, moves=self.moves + 1)
        renew_if_due(self.directory, moved.hosts)
        unsigned = AddressList(
            chain=self.name, number=moved.moves, addresses=tuple(map(str, endpoints))
        )
        signature = base64.b64encode(
            Authority.load(self.directory).sign(unsigned.statement)
        ).decode()
        write_text(moved.address_list, unsigned.model_copy(update={"signature": signature}).header)
        moved._save()
        return moved

    @property
    def address_list(self) -> Path:
        """The file with the signed list of addresses, as it is sent to stores; it does not exist
        before a move.
        """
        return self.directory / "addresses"

    @property
    def sessions(self) -> Path:
        """The file that names the process that speaks for each store."""
        return self.directory / "sessions.json"

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
        """Make a certificate for the SuperLink on this machine, in `directory`; return the
        SuperLink's flags to use it.

        Made at each start, it lives as long as the authority: a SuperLink reads it only once.
        """
        directory.mkdir(mode=0o700, exist_ok=True)
        key = ec.generate_private_key(ec.SECP384R1())
        certificate = Authority.load(self.directory).issue(("localhost",), key, AUTHORITY_LIFE)
        write_private(directory / "link.key", key_text(key))
        write_text(directory / "link.crt", certificate_text(certificate))
        return [
            *("--ssl-ca-certfile", str(self.directory / "ca.crt")),
            *("--ssl-certfile", str(directory / "link.crt")),
            *("--ssl-keyfile", str(directory / "link.key")),
        ]

    def write_kit(self, store: str, *, with_key: bool = False, ends_old_key: bool = False) -> Path:
        """Write a new kit into `DIR/kits`; from now on it is the only valid kit of this store.

        Raises OSError.

        The key that the store has now works until this kit is first used; with `ends_old_key` no
        longer.
        """
        path = self.kit_path(store)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        first, *others = map(str, self.endpoints)
        about: dict[str, Any] = {
            "chain": self.name,
            "server": first,
            "authority": self.authority,
            "store": store,
        }
        if others:
            about["others"] = others
        if with_key:
            key = ec.generate_private_key(ec.SECP384R1())
            Kit.model_validate({**about, "private_key": key_text(key)}).write(path)
            self.stores.admit(store, public_text(key.public_key()), ends_old_key=ends_old_key)
        else:
            code = new_code()
            until = now() + CODE_LIFE
            Kit.model_validate({**about, "code": code, "until": until}).write(path)
            # last: each known store has a kit
            self.stores.invite(store, code, until, ends_old_key=ends_old_key)
        return path

    def kit_path(self, store: str) -> Path:
        """Return the path of a store's kit."""
        return self.directory.parent / "kits" / f"{store}.kit"


def public_text(key: ec.EllipticCurvePublicKey) -> str:
    """Return a public key in OpenSSH's text form, which Flower's registration takes."""
    return key.public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    ).decode()


def endpoints_of(hosts: str, port: int) -> tuple[Endpoint, ...]:
    """Return the endpoints of a server with these hosts, comma-separated, on one port.

    Raises ConfigError.
    """
    names = [host.strip() for host in hosts.split(",")]
    for name in names:
        check_host(name, "--host")
    _check_count(names, "--host")
    return tuple(Endpoint(name, port) for name in dict.fromkeys(names))


def endpoints_told(addresses: str) -> tuple[Endpoint, ...]:
    """Return the endpoints in a list of HOST:PORT, comma-separated. Raises ConfigError."""
    found = [Endpoint.parse(address.strip(), "--to") for address in addresses.split(",")]
    _check_count(found, "--to")
    return tuple(dict.fromkeys(found))


def _check_count(told: Sequence[object], flag: str) -> None:
    if len(told) > MAX_ADDRESSES:
        raise ConfigError(
            f"{flag} got {len(told)} addresses; a store tries at most {MAX_ADDRESSES}."
        )
