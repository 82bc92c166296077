"""A store's own key: made here, never sent, and enrolled with the server once, with the code in the
kit.
"""

import base64
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from fedshelf.client.connection.credentials import Credentials, new_key
from fedshelf.client.connection.errors import NO_CONNECTION, obstacle
from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.connection.transport import http_client
from fedshelf.client.identity.home import KEY_FILE, store_home
from fedshelf.client.identity.peer import save_peer
from fedshelf.common.errors import ConfigError, NetworkError
from fedshelf.common.protocol.enrolment import ENROL_PATH, enrolment_statement
from fedshelf.common.protocol.kit import Kit
from fedshelf.common.system.files import check_private, write_private, write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

ENROL_TIMEOUT_SECONDS = 10.0  # seconds to connect, and for each piece of an answer
ENROL_RETRY_SECONDS = 1.0  # seconds between two attempts at a server that does not answer


class Membership(BaseModel):
    """The content of `store.json` in a store's home: the kit that the store joined with, without
    code or key.

    Attributes:
        invitation: Identity of the kit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: str
    server: str
    authority: str
    store: str
    invitation: str
    since: datetime


def load_or_enrol(kit: Kit, wait: float, server: str = "") -> Credentials:
    """Return the store's credentials; for a kit that is new here, make or take its key and enrol
    it.

    Raises ConfigError for a kit of another chain than the store's, or a key that others can read,
    RefusedError if the server rejects the code, NetworkError if none answers within `wait`
    seconds.

    Args:
        server: HOST:PORT to call instead of all known addresses of the server, or empty.
    """
    home = store_home(kit.store)
    member = membership(home)
    if member is not None and member.chain != kit.chain:
        raise ConfigError(
            f"Store {kit.store} on this machine belongs to the chain {member.chain}"
            f" ({member.server}), and this kit is of the chain {kit.chain} ({kit.server}). Use the"
            f" right kit; to change chains, move {home} away first."
        )
    key_file = home / KEY_FILE
    known = addresses_of(kit, server)
    if member is None or member.invitation != kit.invitation or not key_file.exists():
        _adopt_kit(kit, home, key_file, known, wait)
    return Credentials(known.all[0], known.authority, load_key(key_file), home / "node", known)


def addresses_of(kit: Kit, server: str = "") -> KnownAddresses:
    """Return the server's addresses: HOST:PORT if `server` is given, else those of the kit and of
    the chain.
    """
    authority = kit.authority.encode()
    if server:
        return KnownAddresses((server,), authority, checks_names=False)
    return KnownAddresses(kit.addresses, authority, store_home(kit.store) / "addresses")


def membership(home: Path) -> Membership | None:
    """Return the membership of the store with this home; None before it joined.

    Raises ConfigError (damaged file).
    """
    path = home / "store.json"
    try:
        return Membership.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValidationError:
        raise ConfigError(
            f"{path} is damaged; ask for a new kit, move {home} away, and join again."
        ) from None


def load_key(path: Path) -> "EllipticCurvePrivateKey":
    """Load a private key. Raises ConfigError if it is none, or if others can read it."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    check_private(path)
    with suppress(ValueError, TypeError, UnsupportedAlgorithm):
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key
    raise ConfigError(
        f"{path} is not a key that this store can use; ask for a new kit and join with it."
    )


class SingleInstanceLock:
    """Lock of a store's home for this process; a second one with the same key would take the first
    one's orders.
    """

    def __init__(self, store: str) -> None:
        self._store = store
        self._lock = FileLock(store_home(store) / "client.lock", mode=0o600)

    def __enter__(self) -> None:
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ConfigError(
                f"Another flower-client is at work as {self._store} on this machine; end that one"
                " first."
            ) from None

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _adopt_kit(kit: Kit, home: Path, key_file: Path, known: KnownAddresses, wait: float) -> None:
    """Make the key of the kit, or the key that the kit enrols, this store's.

    Safe to repeat after an interruption.
    """
    # kept until all is done: after a lost answer it is enrolled again
    pending_key_file = home / f"key-{kit.invitation}.pem"
    if kit.private_key is not None:
        write_private(pending_key_file, kit.private_key)
    elif not pending_key_file.exists():
        write_private(pending_key_file, _key_text(new_key()))
    key = load_key(pending_key_file)
    if kit.code is not None:
        print(f"Enrolling store {kit.store} with {known.all[0]}.", flush=True)
        _enrol(kit, kit.code, key, known, time.monotonic() + wait)
    write_private(key_file, pending_key_file.read_text(encoding="utf-8"))
    if kit.peer is not None:
        save_peer(home, kit.peer)
    kit_fields = kit.model_dump(include={"chain", "server", "authority", "store"})
    member = Membership(**kit_fields, invitation=kit.invitation, since=datetime.now(UTC))
    write_text(home / "store.json", member.model_dump_json(indent=2) + "\n")
    pending_key_file.unlink()
    print(
        f"Store {kit.store} has its own key now, in {home}; it never leaves this machine.",
        flush=True,
    )


def _enrol(
    kit: Kit, code: str, key: "EllipticCurvePrivateKey", known: KnownAddresses, deadline: float
) -> None:
    """Send the public key, with the code and a signature, until the server answers or `until`
    (time.monotonic()).
    """
    body = enrolment_request(kit, code, key)
    last_reason = NO_CONNECTION
    with http_client(known, ENROL_TIMEOUT_SECONDS) as client:
        while True:
            try:
                client.post(ENROL_PATH, json=body).raise_for_status()
                return
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                reason = obstacle(error) or _describe_foreign_server(error)
            if time.monotonic() > deadline:
                hint = (
                    " Is it running, and does the address lead there?"
                    if reason == NO_CONNECTION
                    else ""
                )
                addresses = " or ".join(known.all)
                raise NetworkError(
                    f"Store {kit.store} could not enrol with {addresses}: {reason}.{hint}"
                )
            if reason != last_reason:
                print(f"Not enrolled yet: {reason}. Trying again; Ctrl-C ends.", flush=True)
                last_reason = reason
            time.sleep(ENROL_RETRY_SECONDS)


def enrolment_request(kit: Kit, code: str, key: "EllipticCurvePrivateKey") -> dict[str, str]:
    """Return the request to enrol the public half of `key`: JSON of four texts."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    form = serialization.PublicFormat.OpenSSH
    public_key = key.public_key().public_bytes(serialization.Encoding.OpenSSH, form).decode()
    statement = enrolment_statement(kit.chain, kit.store, code, public_key)
    signature = base64.b64encode(key.sign(statement, ec.ECDSA(hashes.SHA256()))).decode()
    return {"store": kit.store, "code": code, "public_key": public_key, "signature": signature}


def _describe_foreign_server(error: httpx.HTTPError) -> str:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return (
        f"the program that answers there is not a Fedshelf server that takes kits (HTTP {status})"
    )


def _key_text(key: "EllipticCurvePrivateKey") -> str:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()
