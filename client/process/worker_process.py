"""The process in which a store trains, seen from the parent process, which holds the connection to
the server.

Network, images and device stay in it from one order to the next. When it dies (a fault of a GPU's
driver, too little memory), the connection stays open: another process is started and does the
order.
"""

import contextlib
import logging
import multiprocessing
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING

from flwr.app import RecordDict

from fedshelf.client.process.settings import Settings
from fedshelf.common.errors import FedshelfError

if TYPE_CHECKING:
    from fedshelf.common.protocol.messages import FailureCode  # loads torch

RESTART_PAUSE_SECONDS = 0.5  # between the death of a process at its start and the next start
MAX_PROCESSES_PER_ORDER = 2  # processes that may die while doing one order before it is given up

LOG = logging.getLogger("fedshelf.store")

STARTS = 5  # processes that may be killed at their start before the store gives up

_KILLED = FedshelfError(
    f"The store's worker process was killed at its start, {STARTS} times; often that is for want of"
    " memory."
)


@dataclass(frozen=True)
class Done:
    """A reply of the process; `answer` is None if it was only to look at the photos.

    changes: to the store's photos since the last reply, in sentences
    """

    answer: RecordDict | None
    changes: tuple[str, ...] = ()


class WorkerProcess:
    """A worker process of the store that `settings` describe; only one thread at a time may call
    `do`.

    on_change: called with each change to the photos before the answer is returned; `do` raises what
        it raises

    Raises FedshelfError if the store cannot work at all, for example for a device that does not
    exist.
    """

    def __init__(self, settings: Settings, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._settings = settings
        self._lock = threading.Lock()
        self._is_open = True
        self._changes = 0
        self._process: BaseProcess
        self._pipe: Connection
        fault: FedshelfError | None = _KILLED
        for _ in range(STARTS):
            if fault is _KILLED:
                self._start(_begin)
                fault = self._first_word()
        if fault is not None:
            raise fault

    def _first_word(self) -> FedshelfError | None:
        """Return the error that prevents the worker's work, or None.

        It is `_KILLED` if the process was killed before it could report.
        """
        try:
            fault: FedshelfError | None = self._pipe.recv()
            return fault
        except (EOFError, OSError):
            self._process.join()
            if (self._process.exitcode or 0) < 0:
                return _KILLED
            return FedshelfError(
                "The store's worker process died at its start; what it printed says why."
            )

    @property
    def photos(self) -> int:
        """A counter that changes as soon as the photos have changed, or may have."""
        return self._changes

    def look(self) -> None:
        """Check whether the photos have changed. Raises EOFError once closed."""
        while (done := self._ask(None)) is None:
            self._restart()
        self._heard(done)

    def do(self, order: RecordDict) -> RecordDict:
        """Return the answer to an order, even if processes die. Raises EOFError once closed."""
        for attempt in range(MAX_PROCESSES_PER_ORDER):
            if (done := self._ask(order)) is not None:
                self._heard(done)
                assert done.answer is not None
                return done.answer
            again = (
                "starting another one and trying again"
                if attempt + 1 < MAX_PROCESSES_PER_ORDER
                else "giving up this order"
            )
            LOG.error("The worker process died (%s); %s.", self._how(), again)
            self._restart()
        return self.decline("crashed")

    def decline(self, code: "FailureCode", detail: str = "", rest: int = 0) -> RecordDict:
        """Return the answer that an order cannot be carried out. Raises EOFError once closed."""
        while (done := self._ask((code, detail, rest))) is None:
            self._restart()
        assert done.answer is not None
        return done.answer

    def close(self) -> None:
        """Terminate the process, even during an order."""
        with self._lock:
            self._is_open = False
            self._process.terminate()
            self._process.join()

    def _heard(self, done: Done) -> None:
        self._changes += len(done.changes)
        for change in done.changes:
            self._on_change(change)

    def _ask(self, job: "RecordDict | tuple[FailureCode, str, int] | None") -> Done | None:
        """Return the reply of the process, or None if it dies."""
        with contextlib.suppress(EOFError, OSError):
            self._pipe.send(job)
            done: Done = self._pipe.recv()
            return done
        return None

    def _how(self) -> str:
        self._process.join()
        code = self._process.exitcode
        return "killed, often for want of memory" if code == -9 else f"exit code {code}"

    def _restart(self) -> None:
        """Start another process, repeatedly if it dies at its start.

        The photos then count as changed.
        """
        self._changes += 1
        while True:
            with self._lock, contextlib.suppress(OSError):
                if not self._is_open:
                    raise EOFError
                self._process.join()
                self._start(_go_on)
            try:
                fault = self._pipe.recv()
            except (EOFError, OSError):
                time.sleep(RESTART_PAUSE_SECONDS)
                continue
            if fault is not None:
                LOG.error("%s", fault)
            return

    def _start(self, enter: Callable[[Connection, Settings], None]) -> None:
        # this process has threads, which a fork would break
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=enter, args=(theirs, self._settings), daemon=True)
        try:
            process.start()
        finally:
            theirs.close()
        self._process = process
        self._pipe = ours


def _begin(pipe: Connection, settings: Settings) -> None:
    from fedshelf.client.process.child_main import tell_what_is_wrong

    tell_what_is_wrong(settings)
    _go_on(pipe, settings)


def _go_on(pipe: Connection, settings: Settings) -> None:
    from fedshelf.client.process.child_main import work  # loads torch, in the new process only

    work(pipe, settings)
