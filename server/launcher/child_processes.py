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

_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
CHILD_EXIT_TIMEOUT_SECONDS = 8.0  # a child gets to end by itself before it is killed
OUTPUT_DRAIN_SECONDS = 2.0  # for its last output to reach the log


class ChildProcesses:
    """Named child processes, each the leader of a process group of its own.

    So Ctrl-C reaches only this process. It copies their output to `directory/<name>.log`, so that
    the file can be rotated; files that they make are private to this user (umask 077). On Linux
    they get SIGTERM when this process dies, however it dies: spawn them from the main thread.

    Args:
        directory:   working directory of the children, and folder of their logs
        environment: environment variables of the children
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._commands: dict[str, Sequence[str]] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._copiers: list[threading.Thread] = []

    def spawn(self, name: str, command: Sequence[str]) -> None:
        """Start a command.

        Args:
            name:    name of the child, and of its log file
            command: the program's path and its arguments
        """
        self._commands[name] = command
        log = LogFile(self.log_file(name))
        child = self._running[name] = subprocess.Popen(
            die_with_parent(command),
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
        )
        copier = threading.Thread(target=copy_output, args=(child.stdout, log), daemon=True)
        copier.start()
        self._copiers = [*filter(threading.Thread.is_alive, self._copiers), copier]

    def process_groups(self) -> dict[str, int]:
        """Return the id of the process group of each child, by the child's name."""
        return {name: child.pid for name, child in self._running.items()}

    def exit_status(self, name: str) -> int | None:
        """Return the exit status of a child that has ended; None while it runs."""
        return self._running[name].poll()

    def restart_dead(self) -> list[str]:
        """Restart the children that have died; return their names."""
        dead_names = [name for name in self._running if self.exit_status(name) is not None]
        for name in dead_names:
            self.spawn(name, self._commands[name])
        return dead_names

    def log_file(self, name: str) -> Path:
        """Return the path of a child's log."""
        return self._directory / f"{name}.log"

    def stop(self, timeout: float = CHILD_EXIT_TIMEOUT_SECONDS) -> None:
        """End all children and their descendants, the last started first.

        Args:
            timeout: seconds between SIGTERM and SIGKILL
        """
        for group in reversed(self.process_groups().values()):
            _signal_group(group, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        for child in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(deadline - time.monotonic(), 0.1))
        for child in self._running.values():
            _signal_group(child.pid, signal.SIGKILL)  # also what a child left behind in its group
            child.wait()
        for copier in self._copiers:
            copier.join(OUTPUT_DRAIN_SECONDS)
        self._running.clear()


def die_with_parent(command: Sequence[str]) -> list[str]:
    """Return a command that becomes `command`, and gets SIGTERM when this process dies.

    On other systems than Linux it gets no signal.
    """
    return [sys.executable, "-I", "-S", str(_DIE_WITH_PARENT), str(os.getpid()), *command]


def installed_command(name: str) -> str:
    """Return the path of a command that is installed in this environment."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def kill_leftovers(process_groups: Sequence[int], command_marks: Sequence[str]) -> int:
    """Kill the processes that a killed launcher has left.

    Process ids are reused by unrelated programs: so a process counts as left over only if its
    command line tells that it is ours.

    Args:
        process_groups: ids of the launcher's process groups
        command_marks:  texts of which one is in the command line of each of our processes

    Returns:
        The number of killed processes.
    """
    try:
        command_line = ["ps", "-A", "-ww", "-o", "pid=,pgid=,args="]
        listing = subprocess.run(command_line, capture_output=True, text=True, check=True)
    # a small container; on Linux the children have got their SIGTERM anyway
    except FileNotFoundError:
        return 0
    killed = 0
    for line in listing.stdout.splitlines():
        pid, group, command = line.split(maxsplit=2)
        if int(group) in process_groups and any(
            command_mark in command for command_mark in command_marks
        ):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(int(pid), signal.SIGKILL)
            killed += 1
    return killed


def _signal_group(group: int, signal_number: signal.Signals) -> None:
    # all gone; macOS: only unreaped ones left
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal_number)
