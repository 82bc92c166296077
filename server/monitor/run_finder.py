"""Finds the run that a person means: by its directory, by its name, or the newest one."""

import os
from pathlib import Path

from fedshelf.common.errors import RunError
from fedshelf.common.suggest import did_you_mean
from fedshelf.server.launcher import running_launchers

_TOUCHED = (
    "flower/events.jsonl",
    "flower/began.json",
    "history.jsonl",
    "summary.json",
    "config.toml",
)


def find(run: Path | None, runs: Path = Path("runs")) -> Path:
    """Return the run directory that `run` means, or the one below `runs` that was written to last
    if it is None.

    run: a directory, or the name of one below `runs` or of one in which a server is at work on this
        machine

    Raises RunError if there is none, if several have that name, or if it is another user's.
    """
    if run is not None:
        return _named(run, runs)
    found = below(runs)
    if not found:
        raise RunError(f"There is no run below {runs.resolve()}; name its directory, or start one.")
    return max(found, key=lambda path: (touched(path), path))


def find_or_expect(run: Path | None) -> Path:
    """Return the run directory that `run` means, or that path itself, in a folder, where there is
    nothing yet.

    Raises RunError as `find` does.
    """
    try:
        is_to_come = run is not None and len(run.parts) > 1 and not run.exists()
    except PermissionError:  # `find` says whose it is
        is_to_come = False
    return run if run is not None and is_to_come else find(run)


def below(runs: Path = Path("runs")) -> list[Path]:
    """Return the run directories in `runs`."""
    return [path.parent for path in sorted(runs.glob("*/config.toml"))]


def touched(run: Path) -> float:
    """Return when the run was last written to, in seconds since the epoch."""
    times = [path.stat().st_mtime for name in _TOUCHED if (path := run / name).exists()]
    return max(times, default=0.0)


def _named(run: Path, runs: Path) -> Path:
    if _is_run(run):
        return run
    if len(run.parts) == 1 and _is_run(runs / run):
        return runs / run
    at_work = [launcher.run for launcher in running_launchers.all_launchers() if launcher.run]
    meant = [path for path in at_work if path.name == str(run)]
    if len(meant) > 1:
        raise RunError(
            f"{len(meant)} runs are called {run}: {', '.join(map(str, meant))}. Name the directory."
        )
    if meant:
        return meant[0]
    known = [path.name for path in [*below(runs), *at_work]]
    raise RunError(
        f"There is no run in {run}: it has no config.toml; name a run directory, such as runs/NAME."
        + did_you_mean(run.name, known)
    )


def _is_run(path: Path) -> bool:
    """Return whether `path` is a run directory.

    Raises RunError for one whose files this user may not read.
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
    whose = running_launchers.owner(path if os.access(path.parent, os.X_OK) else _reachable(path))
    raise RunError(
        f"{path} belongs to the user {whose}, and this user may not read it; ask as that user: "
        f"sudo -u {whose} flower-server ..."
    )


def _reachable(path: Path) -> Path:
    """Return the nearest folder above `path` that can be looked at."""
    return next(parent for parent in path.absolute().parents if os.access(parent.parent, os.X_OK))
