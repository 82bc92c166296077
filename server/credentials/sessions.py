"""Sessions: one process at a time speaks for each store, although a copied home makes the same key
speak twice.

A copy of a store's home (a disk image, a restored backup, one kit with a key on two machines)
makes two processes with one identity, between which Flower would distribute orders at random. A
process sends a number that it drew at its start, and the longest time that it is silent. The
process that speaks for a store keeps its place until it leaves or has been silent for longer;
another one waits meanwhile, and is refused if the first is still heard after that. So a store that
was killed, or restored from a backup, is back after seconds, and of two that both go on the later
one ends. Only this server's clock counts: those of the stores may be wrong.
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

_PROCESS = re.compile(r"([0-9a-f]{32}) ([0-9]{1,2})")
MISSED = 2  # signs of life that may get lost
SLACK = 2.0  # seconds that a sign of life may be late
SESSIONS_SAVE_SECONDS = 1.0  # least seconds between two writings of the file
MOST_RIVALS = 8  # processes that wait for one store's place and are remembered


class Session(BaseModel):
    """The process that speaks for a store, as the file keeps it.

    key:          SHA-256 of the header that names its key: another key begins a new session
    process:      the number that it drew; empty once it has left
    silence:      seconds without a sign of life after which it counts as gone
    refused:      Unix time (s) at which another process was refused last; None: none was
    refused_from: the address of that one
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
class _Speaker:
    """A session, the time of its last sign of life, and the arrival times of waiting processes of
    the store.
    """

    session: Session
    heard: float
    rivals: dict[str, float] = field(default_factory=dict)


class Sessions:
    """The sessions of a chain's stores, kept in `path`, so that a restarted server, too, knows who
    came first.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._speakers = {
            name: _Speaker(each, clock()) for name, each in read_sessions(path).items()
        }
        self._saved = clock() - SESSIONS_SAVE_SECONDS
        self._is_saved = True

    def refusal(self, store: str, key: str, told: str, address: str) -> RefusalReason | None:
        """Note a sign of life of a process with a proven key; return why it may not speak, or None
        if it may.

        key: the header that names the key
        told: the process, as `common.protocol.enrolment.process_header` encodes it; a client
              without it passes unnoted
        """
        if not (found := _PROCESS.fullmatch(told)):
            return None
        own = Session(
            key=hashlib.sha256(key.encode()).hexdigest(),
            process=found[1],
            silence=MISSED * int(found[2]) + SLACK,
        )
        speaker = self._speakers.get(store)
        if speaker is None or speaker.session.key != own.key:
            self._let_in(store, own)
        elif speaker.session.process == own.process:
            speaker.heard = self._clock()
        elif not speaker.session.process or self._clock() - speaker.heard > speaker.session.silence:
            seen = {
                "refused": speaker.session.refused,
                "refused_from": speaker.session.refused_from,
            }
            self._let_in(store, own.model_copy(update=seen))
        else:
            return self._doubt(speaker, own.process, address)
        self._save_at_times()
        return None

    def heard(self, store: str) -> None:
        """Record a sign of life of the process that speaks for the store."""
        if speaker := self._speakers.get(store):
            speaker.heard = self._clock()

    def left(self, store: str, told: str) -> None:
        """Record that the process has deregistered: any other may come at once."""
        speaker = self._speakers.get(store)
        if speaker and speaker.session.process == told.partition(" ")[0]:
            speaker.session.process, self._is_saved = "", False
            self._save_at_times()

    def _let_in(self, store: str, session: Session) -> None:
        self._speakers[store] = _Speaker(session, self._clock())
        self._is_saved = False

    def _doubt(self, speaker: _Speaker, process: str, address: str) -> RefusalReason:
        """Let a second process wait until it is clear whether the first one lives."""
        came = speaker.rivals.setdefault(process, self._clock())
        if len(speaker.rivals) > MOST_RIVALS:
            del speaker.rivals[next(iter(speaker.rivals))]
        if speaker.heard - came <= speaker.session.silence:
            return RefusalReason.MAYBE_IN_USE
        speaker.session.refused, speaker.session.refused_from, self._is_saved = (
            time.time(),
            address,
            False,
        )
        self._save_at_times()
        return RefusalReason.IN_USE

    def _save_at_times(self) -> None:
        """Write the file if it is due; an unwritten or failed change is written with a later sign
        of life.
        """
        if self._is_saved or self._clock() - self._saved < SESSIONS_SAVE_SECONDS:
            return
        self._saved = self._clock()
        sessions = {name: speaker.session for name, speaker in self._speakers.items()}
        with suppress(OSError):
            write_private(
                self._path,
                _SessionsFile(sessions=sessions).model_dump_json(indent=2, exclude_none=True)
                + "\n",
            )
            self._is_saved = True


def read_sessions(path: Path) -> dict[str, Session]:
    """Return the sessions in a file, by store; none if it is missing or damaged: they begin
    anew.
    """
    try:
        return _SessionsFile.model_validate_json(path.read_bytes()).sessions
    except (OSError, ValidationError):
        return {}
