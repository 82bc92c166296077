"""The processes of a measured command, found in /proc: their memory, and how to end them.

Descendants are found by their parent, and by an environment variable that is set for the command,
because daemons leave their parent. A process that was found once is remembered, because it may
overwrite its environment when it gives itself a title.
"""

import os
import signal
import time
from pathlib import Path

PROC = Path("/proc")
TERMINATION_SECONDS = 5.0  # between SIGTERM and SIGKILL
# The sampler competes with the processes that it measures, so it works for one 20th of its time.
SAMPLER_PAUSE_FACTOR = 20


class Tree:
    """All processes of one command.

    Args:
        tag: NAME=VALUE in their environment
        root: process id of the first of them
    """

    def __init__(self, tag: str, root: int) -> None:
        self._tag = tag.encode()
        self._known = {root: started(root)}

    def alive(self) -> set[int]:
        """Return the process ids of those that run now."""
        own_pids = {
            pid for pid, start in self._known.items() if start is not None and started(pid) == start
        }
        other_pids = {int(entry.name) for entry in PROC.glob("[0-9]*")} - own_pids
        while children := {pid for pid in other_pids if parent(pid) in own_pids}:
            own_pids |= children
            other_pids -= children
        own_pids |= {pid for pid in other_pids if self._tag in read(pid, "environ").split(b"\0")}
        self._known |= {pid: started(pid) for pid in own_pids if pid not in self._known}
        return own_pids

    def memory(self) -> int:
        """Return the bytes of all processes, as proportional set size.

        A page that n processes share counts 1/n for each.
        """
        return sum(proportional(pid) for pid in self.alive())

    def cpu(self) -> float:
        """Return the seconds of processor time that they have used.

        Processes count that have ended and for which their parent has waited.
        """
        return sum(ticks(pid) for pid in self.alive()) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End those that still run: first with SIGTERM, later with SIGKILL."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + TERMINATION_SECONDS
            _signal(self.alive(), signal_number)
            while self.alive() and time.monotonic() < until:
                time.sleep(0.02)


def read(pid: int, name: str) -> bytes:
    """Return a file of a process; empty if the process is gone or another user's."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def parent(pid: int) -> int:
    """Return the id of the process that started this one; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def started(pid: int) -> int | None:
    """Return the clock ticks from the machine's start to the process's.

    None if it has ended, even if its parent has not waited for it yet.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] != b"Z" else None


def ticks(pid: int) -> int:
    """Return the clock ticks for which a process and its ended descendants have run.

    0 if it is gone.
    """
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) if fields else 0


def proportional(pid: int) -> int:
    """Return the bytes of one process; 0 if it is gone."""
    for line in read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[bytes]:
    """Return the fields of /proc/PID/stat from the third (state) on.

    The second field is a name that may hold blanks.
    """
    return read(pid, "stat").rpartition(b")")[2].split()


def _signal(pids: set[int], signal_number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue
