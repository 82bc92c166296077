"""The run directory: all files that a training leaves behind, and that it resumes from."""

import itertools
import json
import math
import os
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filelock import FileLock, Timeout

from fedshelf.common.config import (
    RunConfig,
    flatten,
    from_toml,
    known_keys,
    own_settings,
    read_resolved,
    resolve,
    to_toml,
)
from fedshelf.common.config.changeable_settings import is_fixed
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.system.files import write_json, write_text
from fedshelf.server.results.jsonl_tail import TAKEN_BACK

Record = dict[str, Any]

RUNS_OWN_SETTINGS = frozenset({"run.name", "run.out"})  # no other run can use these
# from the data and the machine, unless somebody gives them
DERIVED = frozenset({"data.classes", "run.device"})

FORGOTTEN = "forgotten"  # in a line of the history: store -> when its sums were taken out

EMPTY: Mapping[str, Any] = MappingProxyType({})

# The settings of a run whose config.toml lacks them, because an earlier version wrote it.
EARLIER: Record = {"data.split": "hash"}
EXCLUDE_SUSPECTS = "screening.exclude_suspects"  # true or false; now a word, `screening.suspects`

# seconds that a killed run's last process may take to let go of its directory
RUN_LOCK_TIMEOUT_SECONDS = 10.0


class RunDirectory:
    """Files of one run below `path`, locked against a second process while in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / ".lock")

    @staticmethod
    def check_new(path: Path) -> None:
        """Check that `path` is free or an empty folder; raise RunError if not."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(
                f"Run directory {path} exists already; use --resume to continue it, or another"
                " --out."
            )

    @staticmethod
    def is_run(path: Path) -> bool:
        """Return whether there is a run in `path`, begun or finished."""
        return (path / "config.toml").is_file()

    @staticmethod
    def rounds_done(path: Path) -> int:
        """Return the number of rounds recorded in `path`, without parsing them."""
        history = path / "history.jsonl"
        return history.read_bytes().count(b"\n") if history.exists() else 0

    @staticmethod
    def stored(
        path: Path, overrides: Mapping[str, Any], may_change: Collection[str] = ()
    ) -> RunConfig:
        """Return the configuration of the run in `path`, with settings that may change replaced.

        See `common.config.changeable_settings` for these; `may_change` has more of them.

        Raises:
            RunError: there is no run
            ConfigError: an override would change what the run computes, or the run's strategy is
                not known here
        """
        if not RunDirectory.is_run(path):
            raise RunError(
                f"There is no run to resume in {path}: it has no config.toml; start one without"
                " --resume."
            )
        stored = _written_settings(path)
        before = flatten(resolve(stored))
        after = flatten(resolve(stored, overrides))
        # what the run has computed so far depends on the fixed ones
        for key in overrides:
            if before.get(key) != after[key] and is_fixed(key) and key not in may_change:
                raise ConfigError(
                    f"Setting {key} got {after[key]!r}, but the run in {path} has"
                    f" {before.get(key)!r}; leave it out to resume, or start a new run."
                )
        return resolve(stored, overrides)

    @staticmethod
    def read_config(path: Path) -> RunConfig:
        """Return the configuration of the run in `path`, for those who only read the run.

        Its strategy may be a name that is not known here, as that of an object in a notebook.

        Raises:
            ConfigError: it is missing or cannot be understood
        """
        return read_resolved(_written_settings(path))

    @classmethod
    def open(
        cls, path: Path, config: RunConfig, asked: Mapping[str, Any] = EMPTY
    ) -> "RunDirectory":
        """Open the directory at `path`: create it if need be, lock it, and write `config`.

        Raises RunError.

        Args:
            asked: the flat settings that the user gave; see `settle`
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            directory = cls(path)
            directory._acquire()
            directory.settle(config, asked)
        except OSError as error:
            raise RunError(f"Cannot write run directory {path}: {error.strerror}.") from error
        return directory

    def settle(self, config: RunConfig, asked: Mapping[str, Any] = EMPTY) -> None:
        """Write `config`, and mark the settings that were derived because nobody `asked` for them.

        Settings that were derived when the run began stay derived when it is resumed. Raises
        OSError.
        """
        path = self.path / "config.toml"
        given = flatten(resolve({key: asked[key] for key in DERIVED & asked.keys()}))
        defaults = known_keys()
        known = own_settings(path).keys() if path.exists() else DERIVED
        derived = {key for key in DERIVED & known if given[key] == defaults[key]}
        # marked, so that the file starts another run on other data without its classes and device
        write_text(path, to_toml(config, RUNS_OWN_SETTINGS | derived))

    def history(self) -> list[Record]:
        """Return the recorded rounds; an unfinished last line (from a kill) is no record."""
        if not self._history.exists():
            return []
        lines = self._history.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def mend_history(self, last: Mapping[str, Any] | None) -> list[Record]:
        """Make the history end with `last`, the record in the checkpoint, and return the history.

        A kill between checkpoint and history, or within a line, leaves the history one round short.
        """
        records = [
            record
            for record in self.history()
            if last is not None and record["round"] < last["round"]
        ]
        records += [dict(last)] if last is not None else []
        write_text(self._history, "".join(_line(record) for record in records))
        return records

    def take_back(self, first: int) -> None:
        """Copy the recorded rounds from `first` on to a second file, before the history loses them.

        A killed process may have copied them already; each record is kept once. Raises OSError.
        """
        known = self.taken_back()
        taken_back = [record for record in self.history() if record["round"] >= first]
        new = [record for record in taken_back if record not in known]
        write_text(self._taken_back, "".join(map(_line, [*known, *new])))

    def taken_back(self) -> list[Record]:
        """Return the rounds that were taken back, as the history had them."""
        if not self._taken_back.exists():
            return []
        return [
            json.loads(line) for line in self._taken_back.read_text(encoding="utf-8").splitlines()
        ]

    def append(self, record: Record) -> None:
        """Add one round to the history. Raises OSError."""
        with self._history.open("a", encoding="utf-8") as file:
            file.write(_line(record))

    def sync_history(self) -> None:
        """Make all rounds appended so far durable. Raises OSError."""
        with self._history.open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())

    def run_id(self) -> str:
        """Return the identity of the run, made with it and kept through every resume."""
        path = self.path / "run-id"
        if not path.exists():
            write_text(path, uuid.uuid4().hex)
        return path.read_text(encoding="utf-8")

    def write(self, name: str, value: Any) -> None:
        """Write one JSON file atomically. Raises OSError."""
        write_json(self.path / name, finite(value))

    def close(self) -> None:
        """Release the lock, so that other processes can use the directory."""
        self._lock.release()

    @property
    def _history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def _taken_back(self) -> Path:
        return self.path / TAKEN_BACK

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=RUN_LOCK_TIMEOUT_SECONDS)
        except Timeout:
            raise RunError(
                f"Another process is training in {self.path}; wait for it or use another --out."
            ) from None


def free_name(path: Path) -> Path:
    """Return `path`, or the first of path-2, path-3, ... that does not exist."""
    names = itertools.chain(
        [path], (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    )
    return next(name for name in names if not name.exists())


def _written_settings(path: Path) -> Record:
    """Return the flat settings in a run's config.toml, with the names of today."""
    settings = EARLIER | from_toml(path / "config.toml")
    if EXCLUDE_SUSPECTS in settings:
        settings["screening.suspects"] = "exclude" if settings.pop(EXCLUDE_SUSPECTS) else "report"
    return settings


def _line(record: Record) -> str:
    return json.dumps(finite(record), ensure_ascii=False, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Return a JSON value with null for each number that is not finite.

    JSON has neither NaN nor infinity.
    """
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
