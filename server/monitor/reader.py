"""Reader of a run's state from its directory, repeatedly and at little cost."""

import contextlib
import fcntl
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedshelf.server.monitor.event_log import RunEvents
from fedshelf.server.monitor.progress import Point, RunProgress
from fedshelf.server.monitor.state import FailureSummary, RunState, StoreState, TakenBack, Underway
from fedshelf.server.monitor.store_states import store_states
from fedshelf.server.results import given_models
from fedshelf.server.results.jsonl_tail import TAKEN_BACK, JsonlTail, read_json
from fedshelf.server.results.run_status import AT_WORK, IN_A_ROUND, RunStatus

STATE_FILES = (
    "config.toml", "history.jsonl", "summary.json", "partition.json", "flower/events.jsonl",
    "flower/launcher.jsonl", "flower/stores.json", "flower/outcome.json", "flower/began.json",
    "flower/stop", "flower/delivering", "flower/revoked.json", given_models.GIVEN_FILE, TAKEN_BACK,
)  # fmt: skip
NOT_RUNNING_MESSAGE = (
    "No process is at work on this run, and it has not ended; start it again to go on."
)
# of the launcher, and of a training without one (a simulation)
LOCK_FILES = ("flower/launcher.lock", ".lock")


class RunReader:
    """A reader of one run; it writes nothing, and missing or half-written files are no error.

    Args:
        directory: run directory
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._flower = directory / "flower"
        self._progress = RunProgress()
        self._events = RunEvents(directory / "flower")
        self._history = JsonlTail(directory / "history.jsonl", self._add_record, self._forget)
        self._round_ids = set[tuple[object, object]]()  # the rounds of the history
        self._undone_records: list[dict[str, Any]] = []
        self._taken_back = JsonlTail(
            directory / TAKEN_BACK, self._undone_records.append, self._undone_records.clear
        )
        self._file_stamps: object = None
        self._state: RunState | None = None

    def look(self) -> RunState:
        """Return the current state; the very same value as before if no file has changed.

        Raises:
            OSError: a file cannot be read.
        """
        file_stamps = (
            is_at_work(self._directory),
            *(_stamp(self._directory / name) for name in STATE_FILES),
        )
        if self._state is None or file_stamps != self._file_stamps:
            self._history.look()
            self._taken_back.look()
            self._events.read()
            self._state = self._build_state(at_work=file_stamps[0] is True)
            self._file_stamps = file_stamps
        return self._state

    def _add_record(self, record: dict[str, Any]) -> None:
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # not a round's line
            self._progress.add(record)
            self._round_ids.add(_identity(record))

    def _forget(self) -> None:
        self._progress = RunProgress()
        self._round_ids.clear()

    def _undone_progress(self) -> RunProgress:
        """Sum up the rounds that were taken back.

        A round that is about to be taken back is still in the history, and not counted here.
        """
        undone = RunProgress()
        for record in self._undone_records:
            with contextlib.suppress(KeyError, TypeError, AttributeError):
                if _identity(record) not in self._round_ids:
                    undone.add(record)
        return undone

    def _build_state(self, *, at_work: bool) -> RunState:
        config = _read_config(self._directory / "config.toml")
        progress = self._progress
        undone = self._undone_progress()
        store_reports = read_json(self._directory / "flower" / "stores.json")
        rounds = int(_setting(config, "run", "rounds", 0))
        epochs = int(_setting(config, "train", "epochs", 1))
        quorum = int(_setting(config, "cohort", "min_stores", 1))
        status, reason = self._status_and_reason(at_work=at_work)
        partition = read_json(self._directory / "partition.json")
        revoked = read_json(self._flower / "revoked.json")
        is_over = status not in AT_WORK or self._only_delivers()
        stores = store_states(store_reports, partition, revoked, progress, undone, is_over=is_over)
        last_round_at = _modified_at(self._directory / "history.jsonl") if progress.round else None
        seconds_per_round = progress.seconds_per_round()
        images_per_second = progress.images_per_second()
        is_paced = status in IN_A_ROUND and not self._is_stop_asked() and rounds > progress.round
        return RunState(
            name=str(_setting(config, "run", "name", "") or self._directory.resolve().name),
            directory=str(self._directory),
            status=status,
            doing=None if is_over else self._events.doing,
            since=None if is_over else self._events.since,
            reason=reason,
            round=progress.round,
            rounds=rounds,
            quorum=quorum,
            underway=_underway(self._events.underway, stores) if status in IN_A_ROUND else None,
            began=_modified_at(self._directory / "flower" / "began.json"),
            stores=stores,
            accuracy={name: tuple(points) for name, points in progress.accuracy.items()},
            figure=progress.figure,
            quality={name: tuple(points) for name, points in progress.quality.items()},
            listed=progress.listed,
            loss={name: tuple(points) for name, points in progress.loss.items()},
            best=_best(progress),
            troubles=_failure_summaries(progress),
            failures=dict(progress.failures() + undone.failures()),
            images=(progress.images + undone.images) * epochs,
            images_per_second=None if images_per_second is None else images_per_second * epochs,
            seconds_per_round=seconds_per_round,
            ends=last_round_at + seconds_per_round * (rounds - progress.round)
            if is_paced and last_round_at and seconds_per_round
            else None,
            down=progress.bytes["down"] + undone.bytes["down"],
            up=progress.bytes["up"] + undone.bytes["up"],
            seconds=dict(progress.seconds + undone.seconds),
            last_round_at=last_round_at,
            notes=self._events.notes(),
            taken_back=tuple(TakenBack(*store_reports) for store_reports in progress.taken_back),
            rounds_taken_back=undone.played,
            spoilt_at=given_models.spoilt_at(read_json(self._directory / given_models.GIVEN_FILE)),
        )

    def _status_and_reason(self, *, at_work: bool) -> tuple[RunStatus, str]:
        """Return the run's status and its reason.

        An earlier start's outcome does not count once there is a new one.
        """
        flower = self._flower
        outcome = read_json(flower / "outcome.json")
        summary = read_json(self._directory / "summary.json")
        is_over = self._only_delivers()  # the run; the last start only reported about its delivery
        if at_work and is_over:
            return RunStatus.DELIVERING, "Its model goes to the stores that lack it."
        if outcome.get("error") and not is_over:
            return RunStatus.STOPPED if self._is_stop_asked() else RunStatus.FAILED, str(
                outcome["error"]
            )
        began = _modified_at(flower / "began.json")
        written = _modified_at(self._directory / "summary.json")
        is_new = (
            not at_work and written is not None and (is_over or began is None or written >= began)
        )
        started_outcome = {} if is_over else outcome.get("summary")
        if (final_summary := started_outcome or (summary if is_new else {})).get("status"):
            return RunStatus(final_summary["status"]), str(
                final_summary.get("reason") or _undelivered(final_summary)
            )
        if not at_work:
            is_run = (self._directory / "config.toml").exists()
            return (
                RunStatus.DEAD,
                NOT_RUNNING_MESSAGE if is_run else f"There is no run in {self._directory} yet.",
            )
        return self._running_status(), "It is ending, as asked." if self._is_stop_asked() else ""

    def _running_status(self) -> RunStatus:
        """Return the status of a running run; a simulation does not report it."""
        if self._events.doing is not None:
            return self._events.doing.status
        is_deployed = (self._flower / "began.json").exists()
        if self._progress.round and not is_deployed:
            return RunStatus.TRAINING
        return RunStatus.WAITING if self._events.has_begun else RunStatus.STARTING

    def _is_stop_asked(self) -> bool:
        return (self._flower / "stop").exists()

    def _only_delivers(self) -> bool:
        """Return whether the last start only delivered a finished model to stores."""
        return (self._flower / "delivering").exists()


def _undelivered(summary: dict[str, Any]) -> str:
    """List the stores that lack the model that a run delivered, and why; empty if none does."""
    missing = (summary.get("delivery") or {}).get("missing") or {}
    lacking = ", ".join(f"{name} ({why})" for name, why in missing.items())
    return f"Not yet delivered: {lacking}." if lacking else ""


def is_at_work(directory: Path) -> bool:
    """Return whether a living process trains the run in a directory."""
    return any(_is_held(directory / name) for name in LOCK_FILES)


def _is_held(lock: Path) -> bool:
    """Return whether a living process holds a lock, by a momentary shared lock.

    Nothing is written.
    """
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _identity(record: dict[str, Any]) -> tuple[object, object]:
    """Identify a round's record, also if the round was played again: no two take the same time."""
    return record["round"], record["seconds"].get("total")


def _underway(underway: Underway | None, stores: tuple[StoreState, ...]) -> Underway | None:
    """Return the current round, with the stores that are still training."""
    if underway is None or underway.done >= underway.sampled:
        return underway
    return replace(underway, out=tuple(store.name for store in stores if store.state == "training"))


def _best(progress: RunProgress) -> Point | None:
    """Return the first round with the highest main figure on the images that decide on the best."""
    points = progress.quality["validation"] or progress.quality["test"]
    return max(points, key=lambda point: point[1]) if points else None


def _failure_summaries(progress: RunProgress) -> tuple[FailureSummary, ...]:
    """Summarize the failures, the most frequent first."""
    failures = sorted(progress.troubles.items(), key=lambda item: (-len(item[1].rounds), item[0]))
    return tuple(
        FailureSummary(store, code, counts.reason, tuple(counts.rounds))
        for (store, code), counts in failures
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _setting(config: dict[str, Any], section: str, key: str, default: Any) -> Any:
    return config.get(section, {}).get(key, default)


def _modified_at(path: Path) -> float | None:
    """Return the Unix time (s) at which a file was last written, or None."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        file_status: os.stat_result = path.stat()
    except OSError:
        return None
    return file_status.st_ino, file_status.st_size, file_status.st_mtime_ns
