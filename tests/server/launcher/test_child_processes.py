"""Child processes end when they should, and only those that are ours."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedshelf.common.errors import RunError
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.launcher.child_processes import ChildProcesses, kill_leftovers
from tests.helpers.deployed import wait_for

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[ChildProcesses]:
    children = ChildProcesses(tmp_path, {})
    yield children
    children.stop()


def test_what_a_child_started_ends_with_it(children: ChildProcesses, tmp_path: Path) -> None:
    program = (
        f"import subprocess, time; print(subprocess.Popen({SLEEP!r}).pid, flush=True);"
        " time.sleep(600)"
    )
    children.spawn("parent", [sys.executable, "-c", program])
    grandchild = Path("/proc") / wait_for((tmp_path / "parent.log").read_text).strip()
    assert grandchild.exists()
    children.stop()
    wait_for(lambda: not grandchild.exists() or b") Z " in (grandchild / "stat").read_bytes())


def test_a_child_that_ignores_the_request_to_end_is_killed(
    children: ChildProcesses, tmp_path: Path
) -> None:
    ignore = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on',"
        " flush=True); time.sleep(600)"
    )
    children.spawn("stubborn", [sys.executable, "-c", ignore])
    wait_for((tmp_path / "stubborn.log").read_text)
    children.stop(timeout=0.2)
    assert children.process_groups() == {}


def test_only_processes_that_bear_our_mark_are_ended(tmp_path: Path) -> None:
    """A recorded number may by now be another program's."""
    ours, other = (
        subprocess.Popen([*SLEEP, mark], start_new_session=True)
        for mark in (str(tmp_path), "somebody-else")
    )
    try:
        assert kill_leftovers([ours.pid, other.pid], [str(tmp_path)]) == 1
        assert ours.wait(10) == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_second_launcher_keeps_its_hands_off_a_run(tmp_path: Path) -> None:
    desk = RunMailbox(tmp_path)
    with desk.open(0.0):
        desk.ask_to_stop()
        with (
            pytest.raises(RunError, match="Another flower-server is at work"),
            RunMailbox(tmp_path).open(1.0),
        ):
            pass
        assert desk.is_stop_asked()
    with RunMailbox(tmp_path).open(2.0):
        assert (desk.is_stop_asked(), desk.began) == (False, 2.0)
