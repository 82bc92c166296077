"""Files in `<run>/flower/` through which `flower-server` and its app communicate."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import FedshelfError, RunError
from fedshelf.common.system.files import write_json
from fedshelf.server.ipc.office_file import OfficeFacts

ANSWERED = "answered.jsonl"  # the gateway's record of finished uploads, for the app
PROCESSES = "processes.json"
TRAFFIC = "traffic.json"  # the gateway's record of long transfers, for the app
# enrolled stores that the SuperLink knows, see `server.credentials.registrar`
REGISTRATIONS = "registrations.json"
# exists while the SuperLink knows all enrolled stores, see `server.credentials.registrar`
REGISTERED = "registered"
WITHDRAWN = "withdrawn.jsonl"  # the app's record, for the gateway, of answers that nobody waits for
# orders of an app at work for the gateway to hand out; see `server.grid.mailbox`
ORDERS_FILE = "orders.jsonl"
# folders: the parts of orders, by identity; complete answers, by their orders
PARTS_FOLDER = "parts"
ANSWERS_FOLDER = "answers"
PRESENCE = "presence.json"  # the gateway's list of present stores; see `server.ipc.presence`
RUN_CLASSES_FILE = "classes.json"  # the run's classes, which the gateway tells stores that ask
SUMS_FOLDER = "secure-sums"  # in the run directory: the app's memory of secure sums
LAUNCHER_LOCK = "launcher.lock"  # held by the process that started the run, for as long as it lives
# Wait for a launcher's lock: a mere check whether it is held holds it for a moment
LAUNCHER_LOCK_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True)
class RunFiles:
    """The files through which a runtime over Flower's grid talks to the gateway and to viewers.

    Each is None if it is not used, as in Flower's own simulation.

    Attributes:
        store_status: the app's record of each store's state, see `server.ipc.store_status`
        upload_log: the gateway's record of finished uploads; None: there is no gateway
        message_directory: the folder through which the gateway carries messages; None: Flower's
            SuperLink carries them
        enrolled: returns the names of the enrolled stores by node id, read anew at every call;
            None: each store names itself
        office: returns the chain's facts on its office, read anew at every call
        sums: the folder of the app's memory of secure sums
    """

    store_status: Path | None = None
    upload_log: Path | None = None
    message_directory: Path | None = None
    enrolled: Callable[[], Mapping[int, str]] | None = None
    office: Callable[[], OfficeFacts | None] = lambda: None
    sums: Path | None = None


NO_FILES = RunFiles()


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of an app's work: a run's summary, or an error's sentence and exit code."""

    summary: Mapping[str, Any] | None
    error: str = ""
    exit_code: int = 0


class RunMailbox:
    """The mailbox of the run in `run_directory`.

    events: the app's events, see `server.ipc.events`
    store_status: the app's record of each store's state, see `server.ipc.store_status`
    upload_log: the gateway's record of finished uploads, see `server.ipc.upload_log`
    processes: the launcher's processes and ports, while they run, see
        `server.launcher.flower_server`
    began: Unix time (s) at which the launcher's command started
    """

    def __init__(self, run_directory: Path) -> None:
        self.directory = run_directory / "flower"
        self.events = self.directory / "events.jsonl"
        self.store_status = self.directory / "stores.json"
        self.upload_log = self.directory / ANSWERED
        self.processes = self.directory / PROCESSES
        self._nodes = self.directory / "nodes.json"
        self._outcome = self.directory / "outcome.json"
        self._began = self.directory / "began.json"
        self._stop = self.directory / "stop"
        self._delivery = self.directory / "deliver"
        self._delivery_begun = self.directory / "deliver.begun"
        self._delivering = self.directory / "delivering"
        self._lock = self.directory / "app.lock"
        self._launcher_lock = self.directory / LAUNCHER_LOCK

    @contextmanager
    def open(self, began: float, *, only_delivers: bool = False) -> Iterator[None]:
        """Take the mailbox over, for a launcher that started at `began`.

        Earlier messages are removed.

        A request to give the run's model to stores stays until it is done. A launcher that only
        delivers keeps the stores' states.

        Raises:
            RunError: another launcher holds the mailbox
        """
        # keys and orders lie here: other users of the machine stay out
        self.directory.mkdir(mode=0o700, exist_ok=True)
        try:
            held = FileLock(self._launcher_lock).acquire(timeout=LAUNCHER_LOCK_TIMEOUT_SECONDS)
        except Timeout:
            raise RunError(
                f"Another flower-server is at work in {self.directory.parent}; end it, or use"
                " another --out."
            ) from None
        with held:
            names = (RUN_CLASSES_FILE, WITHDRAWN, ORDERS_FILE, PRESENCE)
            app_files = (self.events, self._nodes, *(self.directory / name for name in names))
            for path in (
                *app_files,
                self._outcome,
                self._stop,
                *([] if only_delivers else [self.store_status, self._delivering]),
            ):
                path.unlink(missing_ok=True)
            if only_delivers:
                self._delivering.touch()
            write_json(self._began, began)
            yield

    def files(self) -> RunFiles:
        """Return the files that the app's runtime uses."""
        names = self.enrolled if self.are_enrolled() else None
        return RunFiles(
            self.store_status,
            self.upload_log,
            self.directory,
            names,
            partial(OfficeFacts.read, self.directory),
            self.directory.parent / SUMS_FOLDER,
        )

    @property
    def began(self) -> float:
        """Unix time (s) at which the launcher's command started."""
        return float(json.loads(self._began.read_text(encoding="utf-8")))

    def are_enrolled(self) -> bool:
        """Return whether only enrolled stores may take part."""
        return self._nodes.exists()

    def enrolled(self) -> dict[int, str]:
        """Return the names of the enrolled stores by the id of their Flower node."""
        return {
            int(node_id): name
            for node_id, name in json.loads(self._nodes.read_text(encoding="utf-8")).items()
        }

    def are_all_registered(self) -> bool:
        """Return whether `enrolled` has all stores.

        It does not while stores are being registered, as at the start.
        """
        return (self.directory / REGISTERED).exists()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold the mailbox for the app; write an error as the outcome if a retry cannot help."""
        # held by a living process alone, however it ends: no stale mark is left
        with FileLock(self._lock):
            try:
                yield
            except FedshelfError as error:
                write_json(
                    self._outcome,
                    {"summary": None, "error": str(error), "exit_code": error.exit_code},
                )
                raise

    def is_app_at_work(self) -> bool:
        """Return whether a living app holds the mailbox."""
        return _is_held(self._lock)

    def is_launcher_at_work(self) -> bool:
        """Return whether a living launcher holds the mailbox."""
        return _is_held(self._launcher_lock)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the run's summary as the outcome, for the app."""
        write_json(self._outcome, {"summary": summary, "error": "", "exit_code": 0})

    def outcome(self) -> RunOutcome | None:
        """Return the outcome; None if the run has not ended, or the app died."""
        if not self._outcome.exists():
            return None
        return RunOutcome(**json.loads(self._outcome.read_text(encoding="utf-8")))

    def tell_classes(self, classes: Sequence[str], config: RunConfig) -> None:
        """Write the run's classes for stores that ask the gateway.

        Nothing is written of a run on turns, which takes photos of any class.
        """
        if classes and config.train.objective != "turns":
            classes_record = {
                "classes": list(classes),
                "merge_spellings": config.data.merge_spellings,
            }
            write_json(self.directory / RUN_CLASSES_FILE, classes_record)

    def ask_to_stop(self) -> None:
        """Ask the app to save and end after its round."""
        self._stop.touch()

    def ask_to_deliver(self) -> None:
        """Ask the app to give the run's model to the stores, after the round in progress."""
        self._delivery.touch()

    def begin_asked_delivery(self) -> bool:
        """Return, for the app, whether a delivery was requested and is not done.

        This is also True if the app died during the delivery. A request made after this call is
        another one.
        """
        with suppress(FileNotFoundError):
            # renamed, not removed: if the app dies now, the request is not forgotten
            self._delivery.rename(self._delivery_begun)
        return self._delivery_begun.exists()

    def end_asked_delivery(self) -> None:
        """Record, for the app, that the delivery is done that was requested when it began."""
        self._delivery_begun.unlink(missing_ok=True)

    def is_delivering(self) -> bool:
        """Return whether the launcher at work only gives a model to stores."""
        return self._delivering.exists()

    def is_stop_asked(self) -> bool:
        """Return whether the app has been asked to end."""
        return self._stop.exists()


def _is_held(lock: Path) -> bool:
    """Return whether a living process holds `lock`; the system releases a dead process's lock."""
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
