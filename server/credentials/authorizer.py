"""Authorization at the gateway: of requests that name the key of an enrolled store, and of requests
to enrol.

Flower's SuperLink checks that a request is signed with the key that it names. The authorizer
checks the name alone, before anything is read or forwarded: so a revoked store is out at once,
strangers cost nothing, and a refused store is told why.
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
    AHEAD,
    BEHIND,
    Asking,
    Enrolment,
    has_kit,
    proven_key,
    seconds_behind,
    verify,
)
from fedshelf.server.credentials.rejection_log import RejectionLog, Tries
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
        self._watched = WatchedFile(chain.stores.path)
        self._sessions = Sessions(chain.sessions)
        self._moved = WatchedFile(chain.address_list)
        self._addresses = _text(chain.address_list)
        self._entries, self._stores = self._read()
        self.log = RejectionLog()
        self._tries = Tries()

    def refusal(self, address: str, headers: Mapping[str, str]) -> RefusalReason | None:
        """Return why a request from `address` with these headers may not pass, or None if it may.

        The key of an unused kit is enrolled if the request is signed with it.
        """
        self._look()
        key = headers.get(KEY_HEADER, "")
        standing = self._stores.get(key)
        if standing is None:
            self.log.tell(
                address,
                "no key" if not key else "a key that no store of this chain is enrolled with",
            )
            return RefusalReason.UNKNOWN_KEY
        if standing.is_revoked:
            self.log.tell(address, f"store {standing.name} is revoked")
            return RefusalReason.REVOKED
        if standing.is_next:
            return self._use_kit(address, standing, headers)
        return None

    def refusal_of_process(
        self, address: str, headers: Mapping[str, str], *, is_waiting: bool
    ) -> RefusalReason | None:
        """Return why a request with a proven key may not pass: another process speaks for the
        store. None if it may.

        is_waiting: a request of the store's process is held, which is a sign of life as long as its
            connection lives
        """
        key = headers[KEY_HEADER]
        standing = self._stores[key]
        if is_waiting:
            self._sessions.heard(standing.name)
        reason = self._sessions.refusal(
            standing.name, key, headers.get(PROCESS_HEADER, ""), address
        )
        if reason is RefusalReason.IN_USE:
            self.log.tell(
                address,
                f"store {standing.name}: a second machine, or a copy of its home, has its key",
            )
        elif reason is RefusalReason.MAYBE_IN_USE:
            self.log.tell(
                address,
                f"store {standing.name}: another process with its key was heard seconds ago",
            )
        return reason

    def left(self, headers: Mapping[str, str]) -> None:
        """Record that a store's process has deregistered."""
        if standing := self._stores.get(headers.get(KEY_HEADER, "")):
            self._sessions.left(standing.name, headers.get(PROCESS_HEADER, ""))

    def addresses(self) -> str:
        """Return the signed list of the server's addresses, for enrolled stores; empty if the
        server never moved.
        """
        if self._moved.has_changed():
            self._addresses = _text(self.chain.address_list)
        return self._addresses

    def _use_kit(
        self, address: str, standing: "_Standing", headers: Mapping[str, str]
    ) -> RefusalReason | None:
        """Enrol the key of a store's latest kit at its first use; return why not, or None."""
        try:
            verify(
                standing.key,
                headers.get(SIGNATURE_HEADER, ""),
                headers.get(TIME_HEADER, "").encode(),
            )
        except (ValueError, InvalidSignature):
            self.log.tell(
                address, f"store {standing.name}: its new kit's key is named, but did not sign"
            )
            return RefusalReason.UNKNOWN_KEY
        self.chain.stores.use(standing.name, standing.key)
        print(f"Store {standing.name} at {address} uses its kit for the first time.", flush=True)
        return None

    def is_signed(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request with these headers was signed, just now, with the store's key
        that it names.
        """
        standing = self._stores.get(headers.get(KEY_HEADER, ""))
        try:
            moment = headers.get(TIME_HEADER, "")
            if standing is None or not -AHEAD < seconds_behind(moment) < BEHIND:
                return False
            verify(standing.key, headers.get(SIGNATURE_HEADER, ""), moment.encode())
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def reason_for_401(self, address: str, key: str, timestamp: str) -> RefusalReason | None:
        """Return why the SuperLink rejected a permitted request's signature, if a store can do
        something about it.
        """
        name = standing.name if (standing := self._stores.get(key)) else "unknown"
        try:
            behind = seconds_behind(timestamp)
        except (ValueError, TypeError):
            behind = 0.0
        if -AHEAD < behind < BEHIND:
            self.log.tell(
                address,
                f"store {name}: not signed with its key, or registered before the server's start",
            )
            return None
        self.log.tell(address, f"store {name}: its clock is {-behind:+.0f} s off")
        return RefusalReason.CLOCK

    def enrol(self, address: str, body: bytes) -> RefusalReason | None:
        """Enrol the store that sent `body`; return why not, or None if it is enrolled."""
        if self._tries.are_used_up(address):
            self.log.tell(address, "too many wrong codes")
            return RefusalReason.SLOW_DOWN
        try:
            asked = Enrolment.model_validate_json(body)
            key = proven_key(asked, self.chain.name)
        except (
            ValidationError,
            ValueError,
            InvalidSignature,
            UnsupportedAlgorithm,
            NotImplementedError,
        ):
            self._tries.failed(address)
            self.log.tell(address, "not a request to enrol, or no proof that the key is its own")
            return RefusalReason.MALFORMED
        entry = self._entry(asked.store)
        name = asked.store if entry else "unknown"
        try:
            # checked without the file and its lock: anybody may ask
            if not (entry and entry.is_for(asked.code)):
                raise NotAdmittedError(RefusalReason.CODE, "a wrong code")
            if entry.has_enrolled(key):  # it got no answer, or asks again and again
                return None
            if self.chain.stores.enrol(asked.store, asked.code, key):
                print(f"Store {name} at {address} is enrolled.", flush=True)
        except NotAdmittedError as error:
            self._tries.failed(address)
            self.log.tell(address, f"store {name} came with {error}")
            return error.reason
        return None

    def refusal_of_kit(self, address: str, body: bytes) -> RefusalReason | None:
        """Return why the sender of `body` (an `Asking`) is not told what stores of this chain may
        know; or None.
        """
        if self._tries.are_used_up(address):
            self.log.tell(address, "too many wrong codes")
            return RefusalReason.SLOW_DOWN
        try:
            asked = Asking.model_validate_json(body)
            entry = self._entry(asked.store)
            if entry and has_kit(asked, self.chain.name, entry):
                if entry.state is not EnrolmentState.REVOKED:
                    return None
                self.log.tell(address, f"store {asked.store} is revoked")
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
        self._tries.failed(address)
        self.log.tell(address, "it asked for the classes without a kit that is good")
        return RefusalReason.CODE

    def _entry(self, store: str) -> StoreEntry | None:
        """Return the store's current entry in the list of stores, or None."""
        self._look()
        return self._entries.get(store)

    def _look(self) -> None:
        """Read the list of stores if it has changed; while the file is damaged, the last good list
        holds.
        """
        if not self._watched.has_changed():
            return
        try:
            self._entries, self._stores = self._read()
        except ConfigError as error:
            print(f"{error} Until then the stores are taken to be as they were.", flush=True)

    def _read(self) -> tuple[dict[str, StoreEntry], dict[str, "_Standing"]]:
        """Return all stores by name, and their keys by the header that names them."""
        entries = self.chain.stores.stores()
        found = {}
        for name, entry in entries.items():
            for key in filter(None, (entry.key, entry.next_key)):
                standing = _Standing(
                    name, key, entry.state is EnrolmentState.REVOKED, is_next=key == entry.next_key
                )
                found[key_header(key)] = standing
        return entries, found


@dataclass(frozen=True)
class _Standing:
    """A present or former key (OpenSSH's text form) of a store; `is_next` before its first use."""

    name: str
    key: str
    is_revoked: bool
    is_next: bool


def _text(path: Path) -> str:
    return path.read_text(encoding="ascii") if path.exists() else ""


# the list of stores is read again at each change, and 1,000 keys take 50 ms to convert
@lru_cache(maxsize=2**14)
def key_header(key: str) -> str:
    """Return KEY_HEADER of Flower's clients for a public key in OpenSSH's text form."""
    loaded = serialization.load_ssh_public_key(key.encode())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(loaded.public_bytes(serialization.Encoding.PEM, form)).decode()
