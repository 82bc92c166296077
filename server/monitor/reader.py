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

FILES = (
    "config.toml", "history.jsonl", "summary.json", "partition.json", "flower/events.jsonl",
    "flower/launcher.jsonl", "flower/stores.json", "flower/outcome.json", "flower/began.json",
    "flower/stop", "flower/delivering", "flower/revoked.json", given_models.GIVEN_FILE, TAKEN_BACK,
)  # fmt: skip
UNENDED = "No process is at work on this run, and it has not ended; start it again to go on."
# of the launcher, and of a training without one (a simulation)
LOCKS = ("flower/launcher.lock", ".lock")


class RunReader:
    """A reader of the run in `directory`.

    It writes nothing there; missing or half-written files are no error.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._flower = directory / "flower"
        self._progress = RunProgress()
        self._talk = RunEvents(directory / "flower")
        self._history = JsonlTail(directory / "history.jsonl", self._record, self._forget)
        self._kept = set[tuple[object, object]]()  # the rounds of the history
        self._gone: list[dict[str, Any]] = []
        self._taken_back = JsonlTail(directory / TAKEN_BACK, self._gone.append, self._gone.clear)
        self._seen: object = None
        self._state: RunState | None = None

    def look(self) -> RunState:
        """Return the current state; the very same value as before if no file has changed.

        Raises OSError.
        """
        seen = (is_at_work(self._directory), *(_stamp(self._directory / name) for name in FILES))
        if self._state is None or seen != self._seen:
            self._history.look()
            self._taken_back.look()
            self._talk.look()
            self._seen, self._state = seen, self._assembled(at_work=seen[0] is True)
        return self._state

    def _record(self, record: dict[str, Any]) -> None:
        with contextlib.suppress(KeyError, TypeError, AttributeError):  # not a round's line
            self._progress.add(record)
            self._kept.add(_identity(record))

    def _forget(self) -> None:
        self._progress = RunProgress()
        self._kept.clear()

    def _undone(self) -> RunProgress:
        """Sum up the rounds that were taken back.

        A round that is about to be taken back is still in the history, and not counted here.
        """
        undone = RunProgress()
        for record in self._gone:
            with contextlib.suppress(KeyError, TypeError, AttributeError):
                if _identity(record) not in self._kept:
                    undone.add(record)
        return undone

    def _assembled(self, *, at_work: bool) -> RunState:
        config = _read_config(self._directory / "config.toml")
        progress = self._progress
        undone = self._undone()
        told = read_json(self._directory / "flower" / "stores.json")
        rounds = int(_get(config, "run", "rounds", 0))
        epochs = int(_get(config, "train", "epochs", 1))
        quorum = int(_get(config, "cohort", "min_stores", 1))
        status, reason = self._verdict(at_work=at_work)
        partition = read_json(self._directory / "partition.json")
        revoked = read_json(self._flower / "revoked.json")
        is_over = status not in AT_WORK or self._only_delivers()
        stores = store_states(told, partition, revoked, progress, undone, over=is_over)
        last = _changed(self._directory / "history.jsonl") if progress.round else None
        pace = progress.seconds_per_round()
        speed = progress.images_per_second()
        is_paced = status in IN_A_ROUND and not self._is_stop_asked() and rounds > progress.round
        return RunState(
            name=str(_get(config, "run", "name", "") or self._directory.resolve().name),
            directory=str(self._directory),
            status=status,
            doing=None if is_over else self._talk.doing,
            since=None if is_over else self._talk.since,
            reason=reason,
            round=progress.round,
            rounds=rounds,
            quorum=quorum,
            underway=_underway(self._talk.underway, stores) if status in IN_A_ROUND else None,
            began=_changed(self._directory / "flower" / "began.json"),
            stores=stores,
            accuracy={name: tuple(points) for name, points in progress.accuracy.items()},
            loss={name: tuple(points) for name, points in progress.loss.items()},
            best=_best(progress),
            troubles=_troubles(progress),
            failures=dict(progress.failures() + undone.failures()),
            images=(progress.images + undone.images) * epochs,
            images_per_second=None if speed is None else speed * epochs,
            seconds_per_round=pace,
            ends=last + pace * (rounds - progress.round) if is_paced and last and pace else None,
            down=progress.bytes["down"] + undone.bytes["down"],
            up=progress.bytes["up"] + undone.bytes["up"],
            seconds=dict(progress.seconds + undone.seconds),
            last_round_at=last,
            notes=self._talk.notes(),
            taken_back=tuple(TakenBack(*told) for told in progress.taken_back),
            rounds_taken_back=undone.played,
            spoilt_at=given_models.spoilt_at(read_json(self._directory / given_models.GIVEN_FILE)),
        )

    def _verdict(self, *, at_work: bool) -> tuple[RunStatus, str]:
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
        began = _changed(flower / "began.json")
        written = _changed(self._directory / "summary.json")
        is_new = (
            not at_work and written is not None and (is_over or began is None or written >= began)
        )
        told = {} if is_over else outcome.get("summary")
        if (ended := told or (summary if is_new else {})).get("status"):
            return RunStatus(ended["status"]), str(ended.get("reason") or _undelivered(ended))
        if not at_work:
            is_run = (self._directory / "config.toml").exists()
            return (
                RunStatus.DEAD,
                UNENDED if is_run else f"There is no run in {self._directory} yet.",
            )
        return self._at_work(), "It is ending, as asked." if self._is_stop_asked() else ""

    def _at_work(self) -> RunStatus:
        """Return the status of a running run; a simulation does not report it."""
        if self._talk.doing is not None:
            return self._talk.doing.status
        is_deployed = (self._flower / "began.json").exists()
        if self._progress.round and not is_deployed:
            return RunStatus.TRAINING
        return RunStatus.WAITING if self._talk.has_begun else RunStatus.STARTING

    def _is_stop_asked(self) -> bool:
        return (self._flower / "stop").exists()

    def _only_delivers(self) -> bool:
        """Return whether the last start trained nothing, and delivered a finished model to
        stores.
        """
        return (self._flower / "delivering").exists()


def _undelivered(summary: dict[str, Any]) -> str:
    """List the stores that lack the model that a run delivered, and why; empty if none does."""
    missing = (summary.get("delivery") or {}).get("missing") or {}
    lacking = ", ".join(f"{name} ({why})" for name, why in missing.items())
    return f"Not yet delivered: {lacking}." if lacking else ""


def is_at_work(directory: Path) -> bool:
    """Return whether a living process trains the run in `directory`."""
    return any(_is_held(directory / name) for name in LOCKS)


def _is_held(lock: Path) -> bool:
    """Return whether a living process holds `lock`, by a momentary shared lock; nothing is
    written.
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
    """Return the first round with the highest accuracy on the images that the best round is chosen
    by.
    """
    points = progress.accuracy["validation"] or progress.accuracy["test"]
    return max(points, key=lambda point: point[1]) if points else None


def _troubles(progress: RunProgress) -> tuple[FailureSummary, ...]:
    """Summarize the failures, the most frequent first."""
    found = sorted(progress.troubles.items(), key=lambda item: (-len(item[1].rounds), item[0]))
    return tuple(
        FailureSummary(store, code, told.reason, tuple(told.rounds))
        for (store, code), told in found
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _get(config: dict[str, Any], section: str, key: str, default: Any) -> Any:
    return config.get(section, {}).get(key, default)


def _changed(path: Path) -> float | None:
    """Return the Unix time (s) at which the file was last written, or None."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        told: os.stat_result = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_size, told.st_mtime_ns
