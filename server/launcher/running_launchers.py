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

_PROCESSES = Path("/proc")
_COMMAND = "flower-server"
_LAUNCHER_COMMANDS = frozenset({"start", "try", "deliver"})  # the sub-commands that hold a run


@dataclass(frozen=True)
class Launcher:
    """A living launcher.

    Attributes:
        pid:        process id
        user:       owner of the process
        run:        its run directory; None if it is not visible from here: another user's, or a
            container's
        started_at: Unix time (s) at which the process started
    """

    pid: int
    user: str
    run: Path | None
    started_at: float


def all_launchers() -> list[Launcher]:
    """Return all launchers of this machine that this user can see, by process id."""
    launchers = []
    for folder in sorted(_PROCESSES.glob("[0-9]*"), key=lambda folder: int(folder.name)):
        try:
            launchers += _launcher(folder)
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return launchers


def launcher_of(run: Path) -> Launcher | None:
    """Return the launcher that works in a run directory.

    Returns:
        The launcher; None if there is none, or it is not visible from here.
    """
    return next(
        (
            launcher
            for launcher in all_launchers()
            if launcher.run and launcher.run.exists() and launcher.run.samefile(run)
        ),
        None,
    )


def owner(path: Path) -> str:
    """Return the name of the user who owns a path, or the number if the user has no name.

    Raises:
        OSError: the path cannot be looked at.
    """
    return user_name(path.stat().st_uid)


def _launcher(process: Path) -> list[Launcher]:
    """Return a list of the launchers that this process is: usually one or none.

    Raises:
        FileNotFoundError: the process has ended meanwhile.
        ProcessLookupError: the same.
    """
    arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    names = [Path(argument).name for argument in arguments[:2]]  # the interpreter may come first
    if _COMMAND not in names:
        return []
    process_status = process.stat()
    pid = int(process.name)
    user = user_name(process_status.st_uid)
    started_at = process_status.st_ctime
    try:
        runs = list(_held_runs(process))
    except PermissionError:
        is_launching = arguments[names.index(_COMMAND) + 1] in _LAUNCHER_COMMANDS
        return [Launcher(pid, user, None, started_at)] if is_launching else []
    return [Launcher(pid, user, run, started_at) for run in runs]


def _held_runs(process: Path) -> Iterator[Path | None]:
    """Yield the run directories whose launcher's lock the process holds; None for an invisible one.

    Raises:
        PermissionError: the process is another user's.
    """
    for link in (process / "fd").iterdir():
        try:
            lock_path = link.readlink()
            if lock_path.parts[-2:] == ("flower", LAUNCHER_LOCK) and _is_locked(
                process / "fdinfo" / link.name
            ):
                yield (
                    lock_path.parents[1]
                    if lock_path.exists() and lock_path.samefile(link)
                    else None
                )
        except FileNotFoundError:  # closed meanwhile
            continue


def _is_locked(descriptor_info: Path) -> bool:
    """Return whether this descriptor holds a lock for writing; a reader holds one for reading."""
    lines = descriptor_info.read_text(encoding="utf-8").splitlines()
    return any(line.startswith("lock:") and " WRITE " in line for line in lines)


def user_name(user_id: int) -> str:
    """Return the name of the user with this id, or the id as text if nobody has it."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
