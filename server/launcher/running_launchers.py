"""The `flower-server` processes that run on this machine, and their run directories.

No file is written for it: a launcher is the process that holds the lock of a run's
`flower/launcher.lock`, and the system lists the files that every process holds. A killed one holds
nothing. Needs Linux's `/proc`; elsewhere no process is found.
"""

import pwd
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedshelf.server.ipc.run_mailbox import LAUNCHER_LOCK

_PROC = Path("/proc")
_COMMAND = "flower-server"
_LAUNCHING = frozenset({"start", "try", "deliver"})  # the sub-commands that hold a run


@dataclass(frozen=True)
class Launcher:
    """A living launcher.

    user:  owner of the process
    run:   its run directory; None if it is not visible from here: another user's, or a container's
    since: Unix time (s) at which the process started
    """

    pid: int
    user: str
    run: Path | None
    since: float


def living() -> list[Launcher]:
    """Return all launchers of this machine that this user can see, by process number."""
    found = []
    for folder in sorted(_PROC.glob("[0-9]*"), key=lambda folder: int(folder.name)):
        try:
            found += _launcher(folder)
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found


def launcher_of(run: Path) -> Launcher | None:
    """Return the launcher that works in `run`, or None if there is none, or it is not visible from
    here.
    """
    return next(
        (each for each in living() if each.run and each.run.exists() and each.run.samefile(run)),
        None,
    )


def owner(path: Path) -> str:
    """Return the name, or else the number, of the user who owns `path`. Raises OSError."""
    return user_name(path.stat().st_uid)


def _launcher(process: Path) -> list[Launcher]:
    """Return the launcher that this process is, if it is one.

    Raises FileNotFoundError, ProcessLookupError.
    """
    arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    names = [Path(each).name for each in arguments[:2]]  # the interpreter may come first
    if _COMMAND not in names:
        return []
    told = process.stat()
    pid = int(process.name)
    user = user_name(told.st_uid)
    since = told.st_ctime
    try:
        runs = list(_held_runs(process))
    except PermissionError:
        is_launching = arguments[names.index(_COMMAND) + 1] in _LAUNCHING
        return [Launcher(pid, user, None, since)] if is_launching else []
    return [Launcher(pid, user, run, since) for run in runs]


def _held_runs(process: Path) -> Iterator[Path | None]:
    """Yield the run directory whose launcher's lock the process holds, or None for one that is not
    visible from here.

    Raises PermissionError for another user's process.
    """
    for link in (process / "fd").iterdir():
        try:
            held = link.readlink()
            if held.parts[-2:] == ("flower", LAUNCHER_LOCK) and _is_locked(
                process / "fdinfo" / link.name
            ):
                yield held.parents[1] if held.exists() and held.samefile(link) else None
        except FileNotFoundError:  # closed meanwhile
            continue


def _is_locked(info: Path) -> bool:
    """Return whether this descriptor holds a lock for writing; a mere reader holds one for
    reading.
    """
    lines = info.read_text(encoding="utf-8").splitlines()
    return any(line.startswith("lock:") and " WRITE " in line for line in lines)


def user_name(number: int) -> str:
    """Return the name of the user with this number, or the number if nobody has it."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
