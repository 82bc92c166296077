"""Finds the run that a person means: by its directory, by its name, or the newest one."""

import os
from pathlib import Path

from fedshelf.common.errors import RunError
from fedshelf.common.names import COMPARISON_FILE
from fedshelf.common.suggest import did_you_mean
from fedshelf.server.launcher import running_launchers

_WRITTEN_FILES = (
    "flower/events.jsonl",
    "flower/began.json",
    "history.jsonl",
    "summary.json",
    "config.toml",
)


def find_run(run: Path | None, runs: Path = Path("runs")) -> Path:
    """Return the run directory that a person means.

    Args:
        run:  a directory, or the name of one below `runs`, or of one in which a server is at work
            on
            this machine; None: the one below `runs` that was written to last
        runs: folder of run directories

    Raises:
        RunError: there is none, several have that name, or it is another user's.
    """
    if run is not None:
        return _find_by_name(run, runs)
    directories = run_directories(runs)
    if not directories:
        raise RunError(f"There is no run below {runs.resolve()}; name its directory, or start one.")
    return max(directories, key=lambda path: (last_written(path), path))


def find_or_expect(run: Path | None) -> Path:
    """Return the run directory that a person means, or a path where a run is yet to come.

    Args:
        run: as in `find_run`; a path in a folder may be one that does not exist

    Raises:
        RunError: as `find_run`.
    """
    try:
        is_to_come = run is not None and len(run.parts) > 1 and not run.exists()
    except PermissionError:  # `find` says whose it is
        is_to_come = False
    return run if run is not None and is_to_come else find_run(run)


def run_directories(runs: Path = Path("runs")) -> list[Path]:
    """Return the run directories in a folder.

    A comparison has a config.toml, too, but is none: its runs lie in folders of their own.
    """
    found = [path.parent for path in sorted(runs.glob("*/config.toml"))]
    return [path for path in found if not (path / COMPARISON_FILE).is_file()]


def last_written(run: Path) -> float:
    """Return the Unix time (s) at which the run was last written to."""
    times = [path.stat().st_mtime for name in _WRITTEN_FILES if (path := run / name).exists()]
    return max(times, default=0.0)


def _find_by_name(run: Path, runs: Path) -> Path:
    if _is_run(run):
        return run
    if len(run.parts) == 1 and _is_run(runs / run):
        return runs / run
    at_work = [launcher.run for launcher in running_launchers.all_launchers() if launcher.run]
    matches = [path for path in at_work if path.name == str(run)]
    if len(matches) > 1:
        raise RunError(
            f"{len(matches)} runs are called {run}: {', '.join(map(str, matches))}. Name the"
            " directory."
        )
    if matches:
        return matches[0]
    known = [path.name for path in [*run_directories(runs), *at_work]]
    raise RunError(
        f"There is no run in {run}: it has no config.toml; name a run directory, such as runs/NAME."
        + did_you_mean(run.name, known)
    )


def _is_run(path: Path) -> bool:
    """Return whether a path is a run directory.

    Raises:
        RunError: it is one, and this user may not read its files.
    """
    flower = path / "flower"
    try:
        if (path / "config.toml").is_file() and (
            not flower.exists() or os.access(flower, os.R_OK | os.X_OK)
        ):
            return True
        if not (path / "config.toml").exists():
            return False
    except PermissionError:
        pass
    except OSError:  # such as a name that is too long for one
        return False
    owner_name = running_launchers.owner(
        path if os.access(path.parent, os.X_OK) else _reachable(path)
    )
    raise RunError(
        f"{path} belongs to the user {owner_name}, and this user may not read it; ask as that"
        " user: "
        f"sudo -u {owner_name} flower-server ..."
    )


def _reachable(path: Path) -> Path:
    """Return the nearest folder above a path that this user can look at."""
    return next(parent for parent in path.absolute().parents if os.access(parent.parent, os.X_OK))
