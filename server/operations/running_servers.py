"""`flower-server runs`: the servers that run on this machine, and the runs below this folder that
have ended.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.launcher import running_launchers
from fedshelf.server.launcher.running_launchers import Launcher
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.run_finder import below, touched
from fedshelf.server.operations.text_table import print_table
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.run_status import WORDS, RunStatus

ENDED = 10  # number of ended runs that are listed, the latest ones


@dataclass(frozen=True)
class ServerRow:
    """One run.

    run:     its directory; empty if it is not visible from here
    status:  see `server.results.run_status.RunStatus`; empty if unknown
    pid:     of its server; 0 if none runs
    user:    its owner
    since:   Unix time (s) at which the server started, or the run was last written to
    round, rounds: rounds done, and planned
    address: address for stores; empty if unknown, or after the end
    page:    port of the live page on this machine; 0: none
    """

    run: str
    status: str
    pid: int
    user: str
    since: float
    round: int
    rounds: int
    address: str
    page: int


def rows() -> list[ServerRow]:
    """Return the runs in which a server is at work, then the latest of those below `runs/` in which
    none is.
    """
    working = running_launchers.all_launchers()
    held = [launcher.run for launcher in working if launcher.run]
    ended = [
        run for run in below() if not any(run.samefile(path) for path in held if path.exists())
    ]
    ended.sort(key=touched, reverse=True)
    return [*map(_working, working), *map(_ended, ended[:ENDED])]


def show(found: Sequence[ServerRow]) -> None:
    """Print the rows for a person."""
    if not found:
        print(
            "No server of this user runs on this machine, and there is no run below"
            f" {Path('runs').resolve()}."
        )
        return
    columns = ("run", "state", "round", "since", "stores join at", "page's port", "pid", "user")
    print_table(columns, map(_cells, found))


def as_json(found: Sequence[ServerRow]) -> str:
    """Return the rows as a JSON list."""
    return json.dumps([asdict(row) for row in found], ensure_ascii=False, indent=2)


def _working(launcher: Launcher) -> ServerRow:
    if launcher.run is None:
        return ServerRow("", "", launcher.pid, launcher.user, launcher.started_at, 0, 0, "", 0)
    state = RunReader(launcher.run).look()
    where = read_json(RunMailbox(launcher.run).processes)
    return ServerRow(
        _short(launcher.run),
        state.status,
        launcher.pid,
        launcher.user,
        launcher.started_at,
        state.round,
        state.rounds,
        str(where.get("address", "")),
        int(where.get("page", 0)),
    )


def _ended(run: Path) -> ServerRow:
    state = RunReader(run).look()
    return ServerRow(
        str(run),
        state.status,
        0,
        running_launchers.owner(run),
        touched(run),
        state.round,
        state.rounds,
        "",
        0,
    )


def _short(run: Path) -> str:
    """Return the run's path, relative to this folder if it lies below it."""
    return str(run.relative_to(Path.cwd())) if run.is_relative_to(Path.cwd()) else str(run)


def _cells(row: ServerRow) -> list[str]:
    return [
        row.run or "(not visible to this user)",
        WORDS[RunStatus(row.status)] if row.status else "",
        f"{row.round}/{row.rounds}" if row.run else "",
        time.strftime("%b %d %H:%M", time.localtime(row.since)),
        row.address,
        str(row.page or ""),
        str(row.pid or ""),
        row.user,
    ]
