"""The processes of a measured command, found in /proc: what memory they hold, and how to end those
left behind.

Descendants are found by parent, and by an environment variable set for the command, because daemons
leave their parent. What was found once is remembered: a process may overwrite its environment when
it gives itself a title.
"""

import os
import signal
import time
from pathlib import Path

PROC = Path("/proc")
PATIENCE = 5.0  # seconds between asking a process to end and ending it
SHARE = 20  # a look takes at most one 20th of the sampler's time: it competes with what it measures


class Tree:
    """All processes of one command.

    Args:
        tag: NAME=VALUE as it stands in their environment
        root: id of the first of them
    """

    def __init__(self, tag: str, root: int) -> None:
        self._tag = tag.encode()
        self._known = {root: started(root)}

    def alive(self) -> set[int]:
        """Ids of those that run now."""
        mine = {
            pid for pid, start in self._known.items() if start is not None and started(pid) == start
        }
        others = {int(entry.name) for entry in PROC.glob("[0-9]*")} - mine
        while found := {pid for pid in others if parent(pid) in mine}:
            mine |= found
            others -= found
        mine |= {pid for pid in others if self._tag in read(pid, "environ").split(b"\0")}
        self._known |= {pid: started(pid) for pid in mine if pid not in self._known}
        return mine

    def memory(self) -> int:
        """Bytes of them all: proportional set size, in which a page that n processes share counts
        1/n for each.
        """
        return sum(proportional(pid) for pid in self.alive())

    def cpu(self) -> float:
        """Seconds of processor time that they have used, those included that have ended and been
        waited for.
        """
        return sum(ticks(pid) for pid in self.alive()) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End those that still run: first by asking."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + PATIENCE
            _signal(self.alive(), how)
            while self.alive() and time.monotonic() < until:
                time.sleep(0.02)


def read(pid: int, name: str) -> bytes:
    """A file of a process; empty if the process is gone or another user's."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def parent(pid: int) -> int:
    """Id of the process that started this one; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def started(pid: int) -> int | None:
    """Ticks from the machine's start to the process's; None if it has ended, even if nobody has
    asked how.
    """
    fields = _stat(pid)
    return int(fields[19]) if fields and fields[0] != b"Z" else None


def ticks(pid: int) -> int:
    """Clock ticks in which this process, and descendants of it that have ended, have run; 0 if it
    is gone.
    """
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) if fields else 0


def proportional(pid: int) -> int:
    """Bytes of one process; 0 if it is gone."""
    for line in read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third (state) on; the second is a name that may hold
    blanks.
    """
    return read(pid, "stat").rpartition(b")")[2].split()


def _signal(pids: set[int], how: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            continue
