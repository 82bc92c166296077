"""The stores of a chain: who was invited, whose key is enrolled, who was revoked. One file, `stores.json`."""

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from common.door_words import Reason
from common.errors import ConfigError
from common.files import write_private

CODE_LIFE = timedelta(days=14)


class State(StrEnum):
    """Where a store stands with its chain."""

    INVITED = "invited"
    ENROLLED = "enrolled"
    REVOKED = "revoked"


class Entry(BaseModel):
    """What the chain knows of one store.

    since:       when it came into this state
    key:         its public key in OpenSSH's text form; of a revoked store, the one it had
    code_sha256: of the code in its latest kit; `until` is None once it has been used
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    since: datetime
    key: str | None = None
    code_sha256: str | None = None
    until: datetime | None = None

    def is_for(self, code: str) -> bool:
        """Whether its latest kit carries this code; takes the same time for every code."""
        return self.code_sha256 is not None and hmac.compare_digest(self.code_sha256, _sha256(code))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    stores: dict[str, Entry] = {}


class NotAdmittedError(Exception):
    """An enrolment that is refused, with the reason for the store and words for the server's log."""

    def __init__(self, reason: Reason, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class Registry:
    """The file `stores.json` in `directory`, shared by all processes that open it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "stores.json"
        self._lock = FileLock(directory / "stores.lock", mode=0o600)

    def stores(self) -> dict[str, Entry]:
        """All stores by name. Raises ConfigError if the file is damaged."""
        try:
            return _File.model_validate_json(self.path.read_bytes()).stores if self.path.exists() else {}
        except ValidationError as error:
            raise ConfigError(f"{self.path} is damaged ({error.error_count()} errors); restore it.") from None

    def invite(self, name: str, code: str, until: datetime) -> None:
        """Let `code` enrol a key for the store, once, up to a time. A key that it has stays until then."""
        with self._changing() as stores:
            before = stores.get(name)
            is_enrolled = before is not None and before.state is State.ENROLLED
            kept = before if before is not None and is_enrolled else Entry(state=State.INVITED, since=now())
            stores[name] = kept.model_copy(update={"code_sha256": _sha256(code), "until": until})

    def admit(self, name: str, key: str) -> None:
        """Enrol a key that the chain has made itself for the store."""
        with self._changing() as stores:
            stores[name] = Entry(state=State.ENROLLED, since=now(), key=key)

    def enrol(self, name: str, code: str, key: str) -> bool:
        """Enrol a store's own key; whether it is new. The same again, for a store that got no answer, changes nothing.

        Raises NotAdmittedError.
        """
        with self._changing() as stores:
            entry = stores.get(name) or Entry(state=State.INVITED, since=now())
            if not entry.is_for(code):
                raise NotAdmittedError(Reason.CODE, "a wrong code")
            if entry.until is None:
                if entry.key == key and entry.state is State.ENROLLED:
                    return False
                raise NotAdmittedError(Reason.CODE, "a code that was used before, with another key")
            if entry.until < now():
                raise NotAdmittedError(Reason.EXPIRED, f"a code that expired on {entry.until:%Y-%m-%d}")
            if any(other.key == key for other in stores.values()):
                raise NotAdmittedError(Reason.CODE, "a key that the chain has seen before")
            stores[name] = entry.model_copy(update={"state": State.ENROLLED, "since": now(), "key": key, "until": None})
            return True

    def revoke(self, name: str) -> None:
        """Take a store out: neither its key nor its kit's code opens the door any more. Raises ConfigError."""
        with self._changing() as stores:
            entry = stores[self._known(name, stores)]
            stores[name] = Entry(state=State.REVOKED, since=now(), key=entry.key)

    def check_known(self, name: str) -> None:
        """Raises ConfigError if the chain has no such store."""
        self._known(name, self.stores())

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Entry]]:
        """The stores, to be changed by one process at a time and written if no error is raised."""
        with self._lock:
            stores = self.stores()
            yield stores
            write_private(self.path, _File(stores=stores).model_dump_json(indent=2, exclude_none=True) + "\n")

    def _known(self, name: str, stores: Mapping[str, Entry]) -> str:
        if name not in stores:
            raise ConfigError(f"There is no store {name!r}; the chain has {', '.join(sorted(stores)) or 'none'}.")
        return name


def new_code() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def _sha256(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def now() -> datetime:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).replace(microsecond=0)
