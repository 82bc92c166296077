"""The stores of a chain (invited, enrolled or revoked) and their keys: file `stores.json`."""

import hashlib
import hmac
import secrets
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.enrolment import RefusalReason
from fedshelf.common.suggest import did_you_mean
from fedshelf.common.system.files import write_private

CODE_LIFETIME = timedelta(days=14)


class EnrolmentState(StrEnum):
    """The state of a store's enrolment with its chain."""

    INVITED = "invited"
    ENROLLED = "enrolled"
    REVOKED = "revoked"


class StoreEntry(BaseModel):
    """The chain's entry of one store.

    Attributes:
        state:       state of its enrolment
        since:       begin of this state
        key:         its public key in OpenSSH's text form; of a revoked store, the last one
        next_key:    public key of its latest kit, if the kit has a key that was not used yet; its
            first
            use makes it `key`
        code_sha256: SHA-256 of the code in its latest kit
        until:       end of that code; None once the code has been used
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: EnrolmentState
    since: datetime
    key: str | None = None
    next_key: str | None = None
    code_sha256: str | None = None
    until: datetime | None = None

    def has_code(self, code: str) -> bool:
        """Return whether its latest kit has this code; takes the same time for every code."""
        return self.code_sha256 is not None and hmac.compare_digest(self.code_sha256, _sha256(code))

    def has_enrolled(self, key: str) -> bool:
        """Return whether the store has used its kit's code with this key."""
        return self.state is EnrolmentState.ENROLLED and self.until is None and self.key == key


class _StoresFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    stores: dict[str, StoreEntry] = {}


class NotAdmittedError(Exception):
    """A refused enrolment, with the reason for the store and words for the server's log."""

    def __init__(self, reason: RefusalReason, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class StoreRegister:
    """The file `stores.json`, shared by all processes that open it.

    Args:
        directory: the chain's credentials directory
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "stores.json"
        self._lock = FileLock(directory / "stores.lock", mode=0o600)

    def stores(self) -> dict[str, StoreEntry]:
        """Return all stores by name.

        Raises:
            ConfigError: the file is damaged.
        """
        try:
            return (
                _StoresFile.model_validate_json(self.path.read_bytes()).stores
                if self.path.exists()
                else {}
            )
        except ValidationError as error:
            raise ConfigError(
                f"{self.path} is damaged ({error.error_count()} errors); restore it from a backup."
            ) from None

    def invite(self, name: str, code: str, until: datetime, *, ends_old_key: bool = False) -> None:
        """Allow a code to enrol a key for the store, once.

        Args:
            name:         name of the store
            code:         the code in its new kit
            until:        end of the code
            ends_old_key: True to end the store's present key at once; False: it works until the
                code is
                used
        """
        with self._edit() as stores:
            entry = _invited_entry(stores.get(name), ends_old_key=ends_old_key)
            stores[name] = entry.model_copy(update={"code_sha256": _sha256(code), "until": until})

    def admit(self, name: str, key: str, *, ends_old_key: bool = False) -> None:
        """Allow a key that the chain has made for the store, from its first use on (see `use`).

        Args:
            name:         name of the store
            key:          public key in OpenSSH's text form
            ends_old_key: True to end the store's present key at once; False: it works until the
                first use
        """
        with self._edit() as stores:
            entry = _invited_entry(stores.get(name), ends_old_key=ends_old_key)
            stores[name] = entry.model_copy(update={"next_key": key})

    def use(self, name: str, key: str) -> None:
        """Enrol the key of a store's latest kit, which has just been used; any earlier key ends."""
        with self._edit() as stores:
            entry = stores.get(name)
            if entry and entry.next_key == key and entry.state is not EnrolmentState.REVOKED:
                changes = {
                    "state": EnrolmentState.ENROLLED,
                    "since": now(),
                    "key": key,
                    "next_key": None,
                }
                stores[name] = entry.model_copy(update=changes)

    def enrol(self, name: str, code: str, key: str) -> bool:
        """Enrol a store's own key.

        The same key again, of a store that got no answer, changes nothing.

        Args:
            name: name of the store
            code: the code in its kit
            key:  public key in OpenSSH's text form

        Returns:
            True if the key is new.

        Raises:
            NotAdmittedError: the code or the key is not accepted.
        """
        with self._edit() as stores:
            entry = stores.get(name) or StoreEntry(state=EnrolmentState.INVITED, since=now())
            if not entry.has_code(code):
                raise NotAdmittedError(RefusalReason.CODE, "a wrong code")
            if entry.state is EnrolmentState.REVOKED:
                raise NotAdmittedError(RefusalReason.REVOKED, "its latest kit, but it is revoked")
            if entry.until is None:
                if entry.has_enrolled(key):
                    return False
                raise NotAdmittedError(
                    RefusalReason.CODE, "a code that was used before, with another key"
                )
            if entry.until < now():
                raise NotAdmittedError(
                    RefusalReason.EXPIRED, f"a code that expired on {entry.until:%Y-%m-%d}"
                )
            if any(key in (other.key, other.next_key) for other in stores.values()):
                raise NotAdmittedError(RefusalReason.CODE, "a key that the chain has seen before")
            stores[name] = entry.model_copy(
                update={"state": EnrolmentState.ENROLLED, "since": now(), "key": key, "until": None}
            )
            return True

    def revoke(self, name: str) -> None:
        """Revoke a store: neither its key nor its kit's code is accepted any more.

        Raises:
            ConfigError: the chain has no such store.
        """
        with self._edit() as stores:
            # its code and keys stay: a holder is told "revoked"
            entry = stores[self._checked(name, stores)]
            stores[name] = entry.model_copy(
                update={"state": EnrolmentState.REVOKED, "since": now()}
            )

    def delete(self, names: Iterable[str]) -> None:
        """Delete stores whose kits were never used, or that are revoked.

        Raises:
            ConfigError: one of them is another store, or unknown; then none is deleted.
        """
        with self._edit() as stores:
            for name in names:
                if stores[self._checked(name, stores)].state is EnrolmentState.ENROLLED:
                    raise ConfigError(
                        f"Store {name!r} has joined with its kit; only a store whose kit was never"
                        " used, or one that is revoked, can be deleted. Revoke it first:"
                        f" flower-server stores revoke {shlex.quote(name)}."
                    )
                del stores[name]

    def check_known(self, name: str) -> None:
        """Check that the chain has this store; raise ConfigError if not."""
        self._checked(name, self.stores())

    @contextmanager
    def _edit(self) -> Iterator[dict[str, StoreEntry]]:
        """Yield the stores, to be changed by one process at a time.

        They are written afterwards if they have changed, but not after an error.
        """
        with self._lock:
            stores = self.stores()
            before = dict(stores)
            yield stores
            if stores == before:  # watchers of the file need not read it again
                return
            write_private(
                self.path,
                _StoresFile(stores=stores).model_dump_json(indent=2, exclude_none=True) + "\n",
            )

    def _checked(self, name: str, stores: Mapping[str, StoreEntry]) -> str:
        if name not in stores:
            raise ConfigError(
                f"There is no store {name!r}; the chain has {', '.join(sorted(stores)) or 'none'}."
                + did_you_mean(name, stores)
            )
        return name


def _invited_entry(before: StoreEntry | None, *, ends_old_key: bool) -> StoreEntry:
    """Return the entry of a store with a new kit, which makes older kits void.

    The store stays enrolled if its key stays valid.
    """
    if before is None or before.state is not EnrolmentState.ENROLLED or ends_old_key:
        return StoreEntry(state=EnrolmentState.INVITED, since=now())
    return before.model_copy(update={"next_key": None, "code_sha256": None, "until": None})


def new_code() -> str:
    """Return 256 random bits as text."""
    return secrets.token_urlsafe(32)


def _sha256(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def now() -> datetime:
    """Return the time, to the second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)
