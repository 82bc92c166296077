"""Authorization at the gateway: of requests with the key of an enrolled store, and of enrolments.

Flower's SuperLink checks that a request is signed with the key that it names. The authorizer checks
the name alone, before anything is read or forwarded: so a revoked store is out at once, strangers
cost nothing, and a refused store is told why.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.enrolment import PROCESS_HEADER, RefusalReason
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.proofs import (
    MAX_SECONDS_AHEAD,
    MAX_SECONDS_BEHIND,
    ClassesRequest,
    EnrolmentRequest,
    has_kit,
    proven_key,
    seconds_behind,
    verify,
)
from fedshelf.server.credentials.rejection_log import RejectionLog, WrongCodes
from fedshelf.server.credentials.sessions import Sessions
from fedshelf.server.credentials.stores import EnrolmentState, NotAdmittedError, StoreEntry
from fedshelf.server.ipc.file_watcher import WatchedFile

# of Flower's node authentication
KEY_HEADER = "flwr-public-key"
TIME_HEADER = "flwr-timestamp"
SIGNATURE_HEADER = "flwr-signature"  # of the same; signs the value of TIME_HEADER


class Authorizer:
    """Authorizes the stores of one chain."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._stores_file = WatchedFile(chain.stores.path)
        self._sessions = Sessions(chain.sessions)
        self._address_list_file = WatchedFile(chain.address_list)
        self._address_list = _read_text(chain.address_list)
        self._entries, self._keys = self._read()
        self.log = RejectionLog()
        self._wrong_codes = WrongCodes()

    def refusal(self, address: str, headers: Mapping[str, str]) -> RefusalReason | None:
        """Return why a request may not pass, or None if it may.

        The key of an unused kit is enrolled if the request is signed with it.

        Args:
            address: IP address of the sender
            headers: headers of the request
        """
        self._reload_stores()
        key = headers.get(KEY_HEADER, "")
        store_key = self._keys.get(key)
        if store_key is None:
            self.log.tell(
                address,
                "no key" if not key else "a key that no store of this chain is enrolled with",
            )
            return RefusalReason.UNKNOWN_KEY
        if store_key.is_revoked:
            self.log.tell(address, f"store {store_key.name} is revoked")
            return RefusalReason.REVOKED
        if store_key.is_next:
            return self._use_kit(address, store_key, headers)
        return None

    def refusal_of_process(
        self, address: str, headers: Mapping[str, str], *, is_waiting: bool
    ) -> RefusalReason | None:
        """Return why a request with a proven key may not pass, or None if it may.

        It may not if another process speaks for the store.

        Args:
            address:    IP address of the sender
            headers:    headers of the request
            is_waiting: True if a request of the store's process is held, which is a sign of life as
                long
                as its connection lives
        """
        key = headers[KEY_HEADER]
        store_key = self._keys[key]
        if is_waiting:
            self._sessions.record_sign_of_life(store_key.name)
        reason = self._sessions.refusal(
            store_key.name, key, headers.get(PROCESS_HEADER, ""), address
        )
        if reason is RefusalReason.IN_USE:
            self.log.tell(
                address,
                f"store {store_key.name}: a second machine, or a copy of its home, has its key",
            )
        elif reason is RefusalReason.MAYBE_IN_USE:
            self.log.tell(
                address,
                f"store {store_key.name}: another process with its key was heard seconds ago",
            )
        return reason

    def record_deregistration(self, headers: Mapping[str, str]) -> None:
        """Record that a store's process has deregistered."""
        if store_key := self._keys.get(headers.get(KEY_HEADER, "")):
            self._sessions.record_departure(store_key.name, headers.get(PROCESS_HEADER, ""))

    def address_list(self) -> str:
        """Return the signed list of the server's addresses, for enrolled stores.

        Returns:
            The value of a header; empty if the server never moved.
        """
        if self._address_list_file.has_changed():
            self._address_list = _read_text(self.chain.address_list)
        return self._address_list

    def _use_kit(
        self, address: str, store_key: "_StoreKey", headers: Mapping[str, str]
    ) -> RefusalReason | None:
        """Enrol the key of a store's latest kit at its first use; return why not, or None."""
        try:
            verify(
                store_key.key,
                headers.get(SIGNATURE_HEADER, ""),
                headers.get(TIME_HEADER, "").encode(),
            )
        except (ValueError, InvalidSignature):
            self.log.tell(
                address, f"store {store_key.name}: its new kit's key is named, but did not sign"
            )
            return RefusalReason.UNKNOWN_KEY
        self.chain.stores.use(store_key.name, store_key.key)
        print(f"Store {store_key.name} at {address} uses its kit for the first time.", flush=True)
        return None

    def is_signed(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request was signed, just now, with the key that its headers name."""
        store_key = self._keys.get(headers.get(KEY_HEADER, ""))
        try:
            timestamp = headers.get(TIME_HEADER, "")
            if (
                store_key is None
                or not -MAX_SECONDS_AHEAD < seconds_behind(timestamp) < MAX_SECONDS_BEHIND
            ):
                return False
            verify(store_key.key, headers.get(SIGNATURE_HEADER, ""), timestamp.encode())
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def reason_for_401(self, address: str, key: str, timestamp: str) -> RefusalReason | None:
        """Return why the SuperLink rejected the signature of a permitted request.

        Args:
            address:   IP address of the sender
            key:       the header that names its key
            timestamp: the header with the time of the signature

        Returns:
            The reason, if the store can do something about it; else None.
        """
        name = store_key.name if (store_key := self._keys.get(key)) else "unknown"
        try:
            clock_behind = seconds_behind(timestamp)
        except (ValueError, TypeError):
            clock_behind = 0.0
        if -MAX_SECONDS_AHEAD < clock_behind < MAX_SECONDS_BEHIND:
            self.log.tell(
                address,
                f"store {name}: not signed with its key, or registered before the server's start",
            )
            return None
        self.log.tell(address, f"store {name}: its clock is {-clock_behind:+.0f} s off")
        return RefusalReason.CLOCK

    def enrol(self, address: str, body: bytes) -> RefusalReason | None:
        """Enrol the store that sent a request to enrol.

        Args:
            address: IP address of the sender
            body:    the request: JSON of an `EnrolmentRequest`

        Returns:
            The reason of a refusal, or None if the store is enrolled.
        """
        if self._wrong_codes.is_blocked(address):
            self.log.tell(address, "too many wrong codes")
            return RefusalReason.SLOW_DOWN
        try:
            request = EnrolmentRequest.model_validate_json(body)
            key = proven_key(request, self.chain.name)
        except (
            ValidationError,
            ValueError,
            InvalidSignature,
            UnsupportedAlgorithm,
            NotImplementedError,
        ):
            self._wrong_codes.add(address)
            self.log.tell(address, "not a request to enrol, or no proof that the key is its own")
            return RefusalReason.MALFORMED
        entry = self._entry(request.store)
        name = request.store if entry else "unknown"
        try:
            # checked without the file and its lock: anybody may ask
            if not (entry and entry.has_code(request.code)):
                raise NotAdmittedError(RefusalReason.CODE, "a wrong code")
            if entry.has_enrolled(key):  # it got no answer, or asks again and again
                return None
            if self.chain.stores.enrol(request.store, request.code, key):
                print(f"Store {name} at {address} is enrolled.", flush=True)
        except NotAdmittedError as error:
            self._wrong_codes.add(address)
            self.log.tell(address, f"store {name} came with {error}")
            return error.reason
        return None

    def refusal_of_kit(self, address: str, body: bytes) -> RefusalReason | None:
        """Return why the sender of a request may not know the run's classes, or None if it may.

        Args:
            address: IP address of the sender
            body:    the request: JSON of a `ClassesRequest`
        """
        if self._wrong_codes.is_blocked(address):
            self.log.tell(address, "too many wrong codes")
            return RefusalReason.SLOW_DOWN
        try:
            request = ClassesRequest.model_validate_json(body)
            entry = self._entry(request.store)
            if entry and has_kit(request, self.chain.name, entry):
                if entry.state is not EnrolmentState.REVOKED:
                    return None
                self.log.tell(address, f"store {request.store} is revoked")
                return RefusalReason.REVOKED
        except (
            ValidationError,
            ValueError,
            TypeError,
            InvalidSignature,
            UnsupportedAlgorithm,
            NotImplementedError,
        ):
            pass
        self._wrong_codes.add(address)
        self.log.tell(address, "it asked for the classes without a valid kit")
        return RefusalReason.CODE

    def _entry(self, store: str) -> StoreEntry | None:
        """Return the store's current entry in the list of stores, or None."""
        self._reload_stores()
        return self._entries.get(store)

    def _reload_stores(self) -> None:
        """Read the list of stores if it has changed; a damaged file changes nothing."""
        if not self._stores_file.has_changed():
            return
        try:
            self._entries, self._keys = self._read()
        except ConfigError as error:
            print(f"{error} Until then the last good list of stores counts.", flush=True)

    def _read(self) -> tuple[dict[str, StoreEntry], dict[str, "_StoreKey"]]:
        """Return all stores by name, and their keys by the header that names them."""
        entries = self.chain.stores.stores()
        keys = {}
        for name, entry in entries.items():
            for key in filter(None, (entry.key, entry.next_key)):
                store_key = _StoreKey(
                    name, key, entry.state is EnrolmentState.REVOKED, is_next=key == entry.next_key
                )
                keys[key_header(key)] = store_key
        return entries, keys


@dataclass(frozen=True)
class _StoreKey:
    """A present or former key of a store.

    Attributes:
        name:       name of the store
        key:        the key in OpenSSH's text form
        is_revoked: True if the store is revoked
        is_next:    True before the key's first use
    """

    name: str
    key: str
    is_revoked: bool
    is_next: bool


def _read_text(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.exists() else ""


# the list of stores is read again at each change, and 1,000 keys take 50 ms to convert
@lru_cache(maxsize=2**14)
def key_header(key: str) -> str:
    """Return the header with which Flower's clients name a public key, KEY_HEADER.

    Args:
        key: public key in OpenSSH's text form
    """
    public_key = serialization.load_ssh_public_key(key.encode())
    key_format = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(
        public_key.public_bytes(serialization.Encoding.PEM, key_format)
    ).decode()
