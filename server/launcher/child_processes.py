"""Child processes: restarted when they die, and ended with this process."""

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedshelf.server.launcher.log_files import LogFile, copy_output

_MORTAL = Path(__file__).with_name("die_with_parent.py")
CHILD_EXIT_TIMEOUT_SECONDS = 8.0  # seconds a child gets to end by itself before it is killed
LAST_WORDS = 2.0  # seconds for its last output to reach the log


class Children:
    """Named child processes, each the leader of a process group of its own, so that Ctrl-C reaches
    only us.

    This process copies their output to `directory/<name>.log`, so that the file can be rotated;
    files they make are private to this user (umask 077).

    On Linux they get SIGTERM when this process dies, however it dies; spawn them from the main
    thread.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._commands: dict[str, Sequence[str]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._copying: list[threading.Thread] = []

    def spawn(self, name: str, command: Sequence[str]) -> None:
        """Start `command` as `name`."""
        self._commands[name] = command
        log = LogFile(self.log(name))
        child = self._running[name] = subprocess.Popen(
            mortal(command),
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
        copying = threading.Thread(target=copy_output, args=(child.stdout, log), daemon=True)
        copying.start()
        self._copying = [*filter(threading.Thread.is_alive, self._copying), copying]

    def groups(self) -> dict[str, int]:
        """Return the process group of each child."""
        return {name: child.pid for name, child in self._running.items()}

    def exited(self, name: str) -> int | None:
        """Return the exit status of a child that has ended, or None."""
        return self._running[name].poll()

    def revive(self) -> list[str]:
        """Restart the children that have died; return their names."""
        dead = [name for name in self._running if self.exited(name) is not None]
        for name in dead:
            self.spawn(name, self._commands[name])
        return dead

    def log(self, name: str) -> Path:
        """Return the log file of a child."""
        return self._directory / f"{name}.log"

    def stop(self, patience: float = CHILD_EXIT_TIMEOUT_SECONDS) -> None:
        """End all children and their descendants: SIGTERM, the last started first; SIGKILL after
        `patience` seconds.
        """
        for group in reversed(self.groups().values()):
            _signal_group(group, signal.SIGTERM)
        until = time.monotonic() + patience
        for child in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(until - time.monotonic(), 0.1))
        for child in self._running.values():
            _signal_group(child.pid, signal.SIGKILL)  # also what a child left behind in its group
            child.wait()
        for copying in self._copying:
            copying.join(LAST_WORDS)
        self._running.clear()


def mortal(command: Sequence[str]) -> list[str]:
    """Return a command that becomes `command`, and gets SIGTERM when this process dies (on
    Linux).
    """
    return [sys.executable, "-I", "-S", str(_MORTAL), str(os.getpid()), *command]


def installed(name: str) -> str:
    """Return the path of a command installed in this environment."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def end_leftovers(groups: Sequence[int], marks: Sequence[str]) -> int:
    """Kill the processes that a killed launcher left in these process groups; return their number.

    A process counts as left over only if its command line contains one of `marks`: process numbers
    are reused, by unrelated programs.
    """
    try:
        command_line = ["ps", "-A", "-ww", "-o", "pid=,pgid=,args="]
        listing = subprocess.run(command_line, capture_output=True, text=True, check=True)
    # a small container; on Linux the children have got their SIGTERM anyway
    except FileNotFoundError:
        return 0
    ended = 0
    for line in listing.stdout.splitlines():
        pid, group, command = line.split(maxsplit=2)
        if int(group) in groups and any(mark in command for mark in marks):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(int(pid), signal.SIGKILL)
            ended += 1
    return ended


def _signal_group(group: int, number: signal.Signals) -> None:
    # all gone; macOS: only unreaped ones left
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
