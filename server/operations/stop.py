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
from fedshelf.server.monitor.run_finder import find_run
from fedshelf.server.results.run_status import WORDS

NOTICE_POLL_MILLISECONDS = (
    50  # milliseconds between two checks whether the server has noticed a first signal
)


def stop(name: Path, *, at_once: bool) -> None:
    """End the server that works in a run, wait until it is gone, and print the run's status.

    Args:
        name:    run directory, or name of a run
        at_once: False: the server ends after the current round; True: during it, and that round is
            lost. All other rounds are saved.

    Raises:
        RunError: no server works in the run, or only one that this user may not signal.
    """
    run = find_run(name)
    launcher_fd = _open_launcher(run)
    try:
        _signal(launcher_fd, RunMailbox(run), run, at_once=at_once)
        if not at_once:
            print(
                f"Stopping {run} after the current round. Ctrl-C ends this command, but the server"
                " still stops.",
                flush=True,
            )
        _has_ended(launcher_fd, None)
    finally:
        os.close(launcher_fd)
    state = RunReader(run).look()
    print(f"{run}: {WORDS[state.status]}. {wording.headline(state)}")


def _open_launcher(run: Path) -> int:
    """Return a pidfd of the launcher's process, which stays valid for this process only.

    Raises RunError.
    """
    launcher = running_launchers.launcher_of(run)
    if launcher is None:
        state = RunReader(run).look()
        if is_at_work(run):
            if run.stat().st_uid != os.geteuid():
                raise _not_ours_error(run)
            raise RunError(
                f"A program works in {run}, but it is no flower-server that is visible from here."
                " It may be a simulation, or run in a container or on another machine; stop it"
                " there."
            )
        raise RunError(f"No server runs in {run}: {WORDS[state.status]}. {wording.headline(state)}")
    try:
        launcher_fd = os.pidfd_open(launcher.pid)
    except ProcessLookupError:
        raise RunError(f"The server in {run} has just ended.") from None
    # the process number may have been reused since
    if running_launchers.launcher_of(run) != launcher:
        os.close(launcher_fd)
        raise RunError(f"The server in {run} has just ended.")
    return launcher_fd


def _signal(launcher_fd: int, mailbox: RunMailbox, run: Path, *, at_once: bool) -> None:
    """Signal the launcher once, unless somebody has done so before.

    With `at_once` it gets a second signal when it has noticed the first.
    """
    try:
        if not mailbox.is_stop_asked():
            signal.pidfd_send_signal(launcher_fd, signal.SIGINT)
        if at_once:
            while not (
                mailbox.is_stop_asked() or _has_ended(launcher_fd, NOTICE_POLL_MILLISECONDS)
            ):
                pass
            signal.pidfd_send_signal(launcher_fd, signal.SIGINT)
    except ProcessLookupError:
        return  # it has ended
    except PermissionError:
        raise _not_ours_error(run) from None


def _not_ours_error(run: Path) -> RunError:
    owner = running_launchers.owner(run)
    return RunError(
        f"The server in {run} belongs to {owner}; stop it as that user: sudo -u {owner}"
        f" flower-server stop {run}"
    )


def _has_ended(launcher_fd: int, milliseconds: int | None) -> bool:
    """Return whether the process has ended.

    Args:
        launcher_fd:  pidfd of the process
        milliseconds: longest wait for its end; None: for ever
    """
    poll = select.poll()
    poll.register(launcher_fd, select.POLLIN)
    return bool(poll.poll(milliseconds))
