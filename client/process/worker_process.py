"""The process in which a store trains, seen from the parent process, which holds the connection to
the server.

    parent: WorkerProcess  -- order, refusal or None -->  child: child_main.run_worker
            (no PyTorch)   <------- WorkerReply --------  (network, images and device stay in it)

When the child dies (a fault of a GPU's driver, too little memory), the connection to the server
stays open: another child is started and does the order.
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
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import RecordDict

from fedshelf.common.errors import FedshelfError

if TYPE_CHECKING:
    from fedshelf.common.protocol.messages import FailureCode  # loads torch

RESTART_PAUSE_SECONDS = 0.5  # between the death of a process at its start and the next start
MAX_PROCESSES_PER_ORDER = 2  # processes that may die while doing one order before it is given up

LOG = logging.getLogger("fedshelf.store")

MAX_STARTS = 5  # processes that may be killed at their start before the store gives up

_KILLED_AT_START = FedshelfError(
    f"The store's worker process was killed at its start, {MAX_STARTS} times; often the reason"
    " is too little memory."
)


@dataclass(frozen=True)
class WorkerSettings:
    """Settings that a person gives a store when it joins.

    Attributes:
        store: Its name.
        data: Folder of photos, one sub-folder per class, or a CSV file of them.
        device: Auto, cpu, mps, cuda or cuda:N.
    """

    store: str
    data: Path
    device: str = "auto"


@dataclass(frozen=True)
class WorkerReply:
    """A reply of the process; `answer` is None if it was only to look at the photos.

    Attributes:
        changes: To the store's photos since the last reply, in sentences.
    """

    answer: RecordDict | None
    changes: tuple[str, ...] = ()


class WorkerProcess:
    """A worker process of a store; only one thread at a time may call `carry_out`.

    Args:
        settings: The store's name, photos and device.
        on_change: Called with each change to the photos before the answer is returned; `carry_out`
            raises what it raises.

    Raises:
        FedshelfError: The store cannot work at all, for example for a device that does not exist.
    """

    def __init__(self, settings: WorkerSettings, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._settings = settings
        self._lock = threading.Lock()
        self._is_open = True
        self._photos_version = 0
        self._process: BaseProcess
        self._pipe: Connection
        fault: FedshelfError | None = _KILLED_AT_START
        for _ in range(MAX_STARTS):
            if fault is _KILLED_AT_START:
                self._start(_check_then_work)
                fault = self._receive_start_fault()
        if fault is not None:
            raise fault

    def _receive_start_fault(self) -> FedshelfError | None:
        """Return the error that prevents the worker's work, or None.

        It is `_KILLED` if the process was killed before it could report.
        """
        try:
            fault: FedshelfError | None = self._pipe.recv()
            return fault
        except (EOFError, OSError):
            self._process.join()
            if (self._process.exitcode or 0) < 0:
                return _KILLED_AT_START
            return FedshelfError(
                "The store's worker process died at its start; its output above says why."
            )

    @property
    def photos_version(self) -> int:
        """A counter that changes as soon as the photos have changed, or may have."""
        return self._photos_version

    def check_photos(self) -> None:
        """Check whether the photos have changed. Raises EOFError once closed."""
        while (reply := self._exchange(None)) is None:
            self._restart()
        self._report_changes(reply)

    def carry_out(self, order: RecordDict) -> RecordDict:
        """Return the answer to an order, even if processes die. Raises EOFError once closed."""
        for attempt in range(MAX_PROCESSES_PER_ORDER):
            if (reply := self._exchange(order)) is not None:
                self._report_changes(reply)
                assert reply.answer is not None
                return reply.answer
            next_step = (
                "starting another one and trying again"
                if attempt + 1 < MAX_PROCESSES_PER_ORDER
                else "giving up this order"
            )
            LOG.error("The worker process died (%s); %s.", self._cause_of_death(), next_step)
            self._restart()
        return self.decline("crashed")

    def decline(self, code: "FailureCode", detail: str = "", retry_after: int = 0) -> RecordDict:
        """Return the answer that an order cannot be carried out. Raises EOFError once closed."""
        while (reply := self._exchange((code, detail, retry_after))) is None:
            self._restart()
        assert reply.answer is not None
        return reply.answer

    def close(self) -> None:
        """Terminate the process, even during an order."""
        with self._lock:
            self._is_open = False
            # not asked by the pipe: in the middle of an order nobody reads it
            self._process.terminate()
            self._process.join()

    def _report_changes(self, reply: WorkerReply) -> None:
        self._photos_version += len(reply.changes)
        for change in reply.changes:
            self._on_change(change)

    def _exchange(
        self, job: "RecordDict | tuple[FailureCode, str, int] | None"
    ) -> WorkerReply | None:
        """Return the reply of the process, or None if it dies."""
        with contextlib.suppress(EOFError, OSError):
            self._pipe.send(job)
            reply: WorkerReply = self._pipe.recv()
            return reply
        return None

    def _cause_of_death(self) -> str:
        self._process.join()
        code = self._process.exitcode
        return "killed, often because of too little memory" if code == -9 else f"exit code {code}"

    def _restart(self) -> None:
        """Start another process, repeatedly if it dies at its start.

        The photos then count as changed.
        """
        # nobody watched them while there was no process
        self._photos_version += 1
        while True:
            with self._lock, contextlib.suppress(OSError):
                if not self._is_open:
                    raise EOFError
                self._process.join()
                self._start(_work)
            try:
                fault = self._pipe.recv()
            except (EOFError, OSError):
                time.sleep(RESTART_PAUSE_SECONDS)
                continue
            if fault is not None:
                LOG.error("%s", fault)
            return

    def _start(self, enter: Callable[[Connection, WorkerSettings], None]) -> None:
        # this process has threads, which a fork would break
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=enter, args=(theirs, self._settings), daemon=True)
        try:
            process.start()
        finally:
            # else the death of the process would not close the pipe
            theirs.close()
        self._process = process
        self._pipe = ours


# These two run in the new process, and import PyTorch there only.


def _check_then_work(pipe: Connection, settings: WorkerSettings) -> None:
    from fedshelf.client.process.child_main import print_quick_findings, run_worker
    from fedshelf.common.images.folder.photo_index import PhotoIndex

    index = PhotoIndex(settings.data)
    print_quick_findings(settings, index)
    run_worker(pipe, settings, index)


def _work(pipe: Connection, settings: WorkerSettings) -> None:
    from fedshelf.client.process.child_main import run_worker
    from fedshelf.common.images.folder.photo_index import PhotoIndex

    run_worker(pipe, settings, PhotoIndex(settings.data))
