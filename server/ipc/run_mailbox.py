"""Files through which `flower-server` and the app that Flower runs for it talk, in `<run>/flower/`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import FedshelfError, RunError
from fedshelf.common.system.files import write_json

ANSWERED = "answered.jsonl"  # beside the talk: what the door tells the app
PROCESSES = "processes.json"
TRAFFIC = "traffic.json"  # likewise, of long transfers
REGISTRATIONS = "registrations.json"  # what the SuperLink knows of enrolled stores, see `server.credentials.registrar`
REGISTERED = "registered"  # there while the SuperLink knows all enrolled stores, see `server.credentials.registrar`
WITHDRAWN = "withdrawn.jsonl"  # what the app tells the door of answers that nobody waits for
ORDERS = "orders.jsonl"  # what the app gives the door to hand out, while it is at work; see `server.grid.mailbox`
PARTS_FOLDER, ANSWERS_FOLDER = (
    "parts",
    "answers",
)  # folders: the parts of orders, by identity; complete answers, by their orders
PRESENCE = "presence.json"  # which stores are there, as the door hears it; see `server.ipc.presence`
CLASSES_FILE = "classes.json"  # what the app lets the door tell stores that ask
LAUNCHER_LOCK = "launcher.lock"  # held by the process that started the run, for as long as it lives
LAUNCHER_LOCK_TIMEOUT_SECONDS = (
    1.0  # seconds for a launcher's lock: who only looks whether it is held holds it for a moment
)


@dataclass(frozen=True)
class RunOutcome:
    """How an app's work ended: with a run's summary, or with an error's sentence and exit code."""

    summary: Mapping[str, Any] | None
    error: str = ""
    exit_code: int = 0


class RunMailbox:
    """The talk about the run in `run_directory`.

    events: what the app has to say, see `server.ipc.events`
    board:  what the app knows of each store, see `server.ipc.store_status`
    answered: whose answers are complete, see `server.ipc.upload_log`
    processes: the launcher's processes and ports, while they run, see `server.launcher.flower_server`
    began:  seconds since the epoch at which the person's command started
    """

    def __init__(self, run_directory: Path) -> None:
        self.directory = run_directory / "flower"
        self.events = self.directory / "events.jsonl"
        self.board = self.directory / "stores.json"
        self.answered = self.directory / ANSWERED
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
        """For a launcher that started at `began`: take the desk over, and forget what was said at it before.

        A request to give the run's model to stores stands until it is done. A launcher that does nothing else leaves
        what is known of the stores there.

        Raises RunError if another launcher has it.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        try:
            held = FileLock(self._launcher_lock).acquire(timeout=LAUNCHER_LOCK_TIMEOUT_SECONDS)
        except Timeout:
            raise RunError(
                f"Another flower-server is at work in {self.directory.parent}; end it, or use another --out."
            ) from None
        with held:
            talk = (CLASSES_FILE, WITHDRAWN, ORDERS, PRESENCE)
            told = (self.events, self._nodes, *(self.directory / name for name in talk))
            for path in (*told, self._outcome, self._stop, *([] if only_delivers else [self.board, self._delivering])):
                path.unlink(missing_ok=True)
            if only_delivers:
                self._delivering.touch()
            write_json(self._began, began)
            yield

    @property
    def began(self) -> float:
        """See above."""
        return float(json.loads(self._began.read_text(encoding="utf-8")))

    def are_enrolled(self) -> bool:
        """Whether only enrolled stores may take part."""
        return self._nodes.exists()

    def enrolled(self) -> dict[int, str]:
        """The names of the enrolled stores by the number of their Flower node."""
        return {int(node_id): name for node_id, name in json.loads(self._nodes.read_text(encoding="utf-8")).items()}

    def are_all_registered(self) -> bool:
        """Return whether `enrolled` names all of them: not while stores are being registered, as at the start."""
        return (self.directory / REGISTERED).exists()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For the app: hold the desk, and leave the outcome there if it is one that trying again cannot change."""
        with FileLock(self._lock):
            try:
                yield
            except FedshelfError as error:
                write_json(self._outcome, {"summary": None, "error": str(error), "exit_code": error.exit_code})
                raise

    def is_app_at_work(self) -> bool:
        """Whether a living app holds the desk."""
        return _is_held(self._lock)

    def is_launcher_at_work(self) -> bool:
        """Whether a living launcher holds the desk."""
        return _is_held(self._launcher_lock)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """For the app: the run has this summary."""
        write_json(self._outcome, {"summary": summary, "error": "", "exit_code": 0})

    def outcome(self) -> RunOutcome | None:
        """How it ended, or None if it has not, or the app died."""
        if not self._outcome.exists():
            return None
        return RunOutcome(**json.loads(self._outcome.read_text(encoding="utf-8")))

    def tell_classes(self, classes: Sequence[str], config: RunConfig) -> None:
        """Let the door tell stores that ask which classes the run has; nothing where none are product classes."""
        if classes and config.train.objective == "classes":
            told = {"classes": list(classes), "merge_spellings": config.data.merge_spellings}
            write_json(self.directory / CLASSES_FILE, told)

    def ask_to_stop(self) -> None:
        """Ask the app to save and end after its round."""
        self._stop.touch()

    def ask_to_deliver(self) -> None:
        """Ask the app to give the run's model, as it is after the round under way, to the stores."""
        self._delivery.touch()

    def begin_asked_delivery(self) -> bool:
        """For the app: whether it has been asked to, and has not done so yet, as after a death of the app in between.

        What is asked after this was asked is another request.
        """
        with suppress(FileNotFoundError):
            self._delivery.rename(self._delivery_begun)
        return self._delivery_begun.exists()

    def end_asked_delivery(self) -> None:
        """For the app: what was asked for when it began is done."""
        self._delivery_begun.unlink(missing_ok=True)

    def is_delivering(self) -> bool:
        """Return whether the launcher at work does nothing but give a model to stores."""
        return self._delivering.exists()

    def is_stop_asked(self) -> bool:
        """Whether the app has been asked to end."""
        return self._stop.exists()


def _is_held(lock: Path) -> bool:
    """Whether a living process holds `lock`; the system takes it from a dead one."""
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
