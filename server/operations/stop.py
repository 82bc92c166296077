"""`flower-server stop`: ends a server from another terminal, as Ctrl-C in its own would."""

import os
import select
import signal
from pathlib import Path

from fedshelf.common.errors import RunError
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.launcher import running_launchers
from fedshelf.server.monitor import wording
from fedshelf.server.monitor.reader import RunReader, is_at_work
from fedshelf.server.monitor.run_finder import find
from fedshelf.server.results.run_status import WORDS

_HEARD = 50  # milliseconds between two checks whether the server has noticed a first signal


def stop(name: Path, *, at_once: bool) -> None:
    """End the server that works in the run, wait until its process is gone, and print the run's
    status.

    It ends after the current round, or with `at_once` during it: all rounds but that one are
    saved.

    Raises RunError if no server works in the run, or only one that this user may not signal.
    """
    run = find(name)
    process = _open(run)
    try:
        _ask(process, RunMailbox(run), run, at_once=at_once)
        if not at_once:
            print(
                f"Stopping {run} after the round under way; Ctrl-C ends this waiting, not the"
                " stopping.",
                flush=True,
            )
        _has_ended(process, None)
    finally:
        os.close(process)
    state = RunReader(run).look()
    print(f"{run}: {WORDS[state.status]}. {wording.headline(state)}")


def _open(run: Path) -> int:
    """Return a pidfd of the launcher's process, which stays valid for this process only.

    Raises RunError.
    """
    launcher = running_launchers.launcher_of(run)
    if launcher is None:
        state = RunReader(run).look()
        if is_at_work(run):
            if run.stat().st_uid != os.geteuid():
                raise _not_ours(run)
            raise RunError(
                f"Something works in {run}, but no flower-server of this machine that can be seen"
                " from here: it may be a simulation, or run in a container or on another machine."
                " Stop it there."
            )
        raise RunError(f"No server runs in {run}: {WORDS[state.status]}. {wording.headline(state)}")
    try:
        process = os.pidfd_open(launcher.pid)
    except ProcessLookupError:
        raise RunError(f"The server in {run} has just ended.") from None
    # the process number may have been reused since
    if running_launchers.launcher_of(run) != launcher:
        os.close(process)
        raise RunError(f"The server in {run} has just ended.")
    return process


def _ask(process: int, desk: RunMailbox, run: Path, *, at_once: bool) -> None:
    """Signal once, unless somebody has done so before; with `at_once` a second time when the first
    was noticed.
    """
    try:
        if not desk.is_stop_asked():
            signal.pidfd_send_signal(process, signal.SIGINT)
        if at_once:
            while not (desk.is_stop_asked() or _has_ended(process, _HEARD)):
                pass
            signal.pidfd_send_signal(process, signal.SIGINT)
    except ProcessLookupError:
        return  # it has ended
    except PermissionError:
        raise _not_ours(run) from None


def _not_ours(run: Path) -> RunError:
    whose = running_launchers.owner(run)
    return RunError(
        f"The server in {run} belongs to {whose}; stop it as that user: sudo -u {whose}"
        f" flower-server stop {run}"
    )


def _has_ended(process: int, milliseconds: int | None) -> bool:
    """Return whether the process has ended, after waiting for at most this long (None: for
    ever).
    """
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(milliseconds))
