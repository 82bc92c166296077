"""`flower-server runs`: the servers on this machine, and the latest runs that have ended."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.launcher import running_launchers
from fedshelf.server.launcher.running_launchers import Launcher
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.run_finder import last_written, run_directories
from fedshelf.server.operations.listing_output import print_table
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.run_status import WORDS, RunStatus

MAX_ENDED_RUNS = 10  # number of ended runs that are listed, the latest ones


@dataclass(frozen=True)
class ServerRow:
    """One run.

    Attributes:
        run:     its directory; empty if it is not visible from here
        status:  see `server.results.run_status.RunStatus`; empty if unknown
        pid:     process id of its server; 0 if none runs
        user:    its owner
        since:   Unix time (s) at which the server started, or the run was last written to
        round:   rounds done
        rounds:  rounds planned
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
    """Return the runs in which a server is at work, then the latest ones that have ended.

    Runs that have ended are looked for below `runs/` of the current folder.
    """
    launchers = running_launchers.all_launchers()
    held_runs = [launcher.run for launcher in launchers if launcher.run]
    ended = [
        run
        for run in run_directories()
        if not any(run.samefile(path) for path in held_runs if path.exists())
    ]
    ended.sort(key=last_written, reverse=True)
    return [*map(_row_of_launcher, launchers), *map(_row_of_ended_run, ended[:MAX_ENDED_RUNS])]


def show(servers: Sequence[ServerRow]) -> None:
    """Print the rows for a person."""
    if not servers:
        print(
            "No server of this user runs on this machine, and there is no run below"
            f" {Path('runs').resolve()}."
        )
        return
    columns = ("run", "state", "round", "since", "stores join at", "page's port", "pid", "user")
    print_table(columns, map(_cells, servers))


def _row_of_launcher(launcher: Launcher) -> ServerRow:
    if launcher.run is None:
        return ServerRow("", "", launcher.pid, launcher.user, launcher.started_at, 0, 0, "", 0)
    state = RunReader(launcher.run).look()
    addresses = read_json(RunMailbox(launcher.run).processes)
    return ServerRow(
        _relative(launcher.run),
        state.status,
        launcher.pid,
        launcher.user,
        launcher.started_at,
        state.round,
        state.rounds,
        str(addresses.get("address", "")),
        int(addresses.get("page", 0)),
    )


def _row_of_ended_run(run: Path) -> ServerRow:
    state = RunReader(run).look()
    return ServerRow(
        str(run),
        state.status,
        0,
        running_launchers.owner(run),
        last_written(run),
        state.round,
        state.rounds,
        "",
        0,
    )


def _relative(run: Path) -> str:
    """Return the run's path, relative to the current folder if it lies below it."""
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
