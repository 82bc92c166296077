"""Sessions: one process at a time speaks for each store, although a copied home has the same key.

A copy of a store's home (a disk image, a restored backup, one kit with a key on two machines) makes
two processes with one identity, between which Flower would distribute orders at random. A process
sends a number that it drew at its start, and the longest time that it is silent. The process that
speaks for a store keeps its place until it leaves or has been silent for longer; another one waits
meanwhile, and is refused if the first is still heard after that. So a store that was killed, or
restored from a backup, is back after seconds, and of two that both go on the later one ends. Only
this server's clock counts: those of the stores may be wrong.
"""

import hashlib
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fedshelf.common.protocol.enrolment import RefusalReason
from fedshelf.common.system.files import write_private

_PROCESS_PATTERN = re.compile(r"([0-9a-f]{32}) ([0-9]{1,2})")
MAX_MISSED_SIGNS = 2  # signs of life in a row that may get lost
SLACK_SECONDS = 2.0  # a sign of life may be this late
SESSIONS_SAVE_SECONDS = 1.0  # least time between two writings of the file
MAX_RIVALS = 8  # processes that wait for one store's place and are remembered


class Session(BaseModel):
    """The process that speaks for a store, as the file keeps it.

    Attributes:
        key:          SHA-256 of the header that names its key: another key begins a new session
        process:      the number that it drew; empty once it has left
        silence:      seconds without a sign of life after which it counts as gone
        refused:      Unix time (s) at which another process was refused last; None: none was
        refused_from: address of that process
    """

    model_config = ConfigDict(extra="forbid")

    key: str
    process: str
    silence: float
    refused: float | None = None
    refused_from: str = ""


class _SessionsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sessions: dict[str, Session] = {}


@dataclass
class _StoreProcess:
    """The process that speaks for a store, and those that wait for its place.

    Attributes:
        session:      its session
        last_sign_at: time (s) of its last sign of life, by the server's monotonic clock
        rivals:       arrival times (s) of the waiting processes, by their numbers
    """

    session: Session
    last_sign_at: float
    rivals: dict[str, float] = field(default_factory=dict)


class Sessions:
    """The sessions of a chain's stores, kept in a file.

    So a restarted server, too, knows who came first.

    Args:
        path:  the file
        clock: returns the time in seconds, never running backwards
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._processes = {
            name: _StoreProcess(session, clock()) for name, session in read_sessions(path).items()
        }
        self._saved_at = clock() - SESSIONS_SAVE_SECONDS
        self._is_saved = True

    def refusal(
        self, store: str, key: str, process_header: str, address: str
    ) -> RefusalReason | None:
        """Note a sign of life of a process with a proven key, and decide whether it may speak.

        Args:
            store:          name of the store
            key:            the header that names the key
            process_header: the process, as `common.protocol.enrolment.process_header` encodes it; a
                client
                without it passes unnoted
            address:        IP address of the process

        Returns:
            The reason why the process may not speak, or None if it may.
        """
        if not (match := _PROCESS_PATTERN.fullmatch(process_header)):
            return None
        own = Session(
            key=hashlib.sha256(key.encode()).hexdigest(),
            process=match[1],
            silence=MAX_MISSED_SIGNS * int(match[2]) + SLACK_SECONDS,
        )
        current = self._processes.get(store)
        if current is None or current.session.key != own.key:
            self._begin_session(store, own)
        elif current.session.process == own.process:
            current.last_sign_at = self._clock()
        elif (
            not current.session.process
            or self._clock() - current.last_sign_at > current.session.silence
        ):
            refused_before = {
                "refused": current.session.refused,
                "refused_from": current.session.refused_from,
            }
            self._begin_session(store, own.model_copy(update=refused_before))
        else:
            return self._wait_or_refuse(current, own.process, address)
        self._save_if_due()
        return None

    def record_sign_of_life(self, store: str) -> None:
        """Record a sign of life of the process that speaks for the store."""
        if current := self._processes.get(store):
            current.last_sign_at = self._clock()

    def record_departure(self, store: str, process_header: str) -> None:
        """Record that the process has deregistered: any other may come at once.

        Args:
            store:          name of the store
            process_header: the process, as in `refusal`
        """
        current = self._processes.get(store)
        if current and current.session.process == process_header.partition(" ")[0]:
            current.session.process = ""
            self._is_saved = False
            self._save_if_due()

    def _begin_session(self, store: str, session: Session) -> None:
        self._processes[store] = _StoreProcess(session, self._clock())
        self._is_saved = False

    def _wait_or_refuse(self, current: _StoreProcess, process: str, address: str) -> RefusalReason:
        """Let a second process wait until it is clear whether the first one lives."""
        arrived_at = current.rivals.setdefault(process, self._clock())
        if len(current.rivals) > MAX_RIVALS:
            del current.rivals[next(iter(current.rivals))]
        if current.last_sign_at - arrived_at <= current.session.silence:
            return RefusalReason.MAYBE_IN_USE
        current.session.refused = time.time()
        current.session.refused_from = address
        self._is_saved = False
        self._save_if_due()
        return RefusalReason.IN_USE

    def _save_if_due(self) -> None:
        """Write the file if it is due; a later sign of life writes what is not written now."""
        if self._is_saved or self._clock() - self._saved_at < SESSIONS_SAVE_SECONDS:
            return
        self._saved_at = self._clock()
        sessions = {name: current.session for name, current in self._processes.items()}
        with suppress(OSError):
            write_private(
                self._path,
                _SessionsFile(sessions=sessions).model_dump_json(indent=2, exclude_none=True)
                + "\n",
            )
            self._is_saved = True


def read_sessions(path: Path) -> dict[str, Session]:
    """Return the sessions in a file, by store; none, so that all begin anew, if it is damaged."""
    try:
        return _SessionsFile.model_validate_json(path.read_bytes()).sessions
    except (OSError, ValidationError):
        return {}
