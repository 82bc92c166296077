"""Living servers are found by the lock that they hold, runs by their names."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedshelf.common.errors import RunError
from fedshelf.common.names import COMPARISON_FILE
from fedshelf.common.suggest import did_you_mean, nearest
from fedshelf.server.launcher import running_launchers
from fedshelf.server.monitor.run_finder import find_run, run_directories
from fedshelf.server.operations import stop
from tests.helpers.deployed import wait_for
from tests.helpers.live_runs import LiveRun

HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return LiveRun(tmp_path / "elsewhere" / "autumn", stores=["oslo"]).path


@pytest.fixture
def launcher(run: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is called like ours and holds the lock of a run."""
    program = tmp_path / "flower-server"
    program.write_text(HOLD)
    command = [sys.executable, str(program), str(run / "flower" / "launcher.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_holds_the_lock_is_found_until_killed(
    run: Path, launcher: subprocess.Popen[str]
) -> None:
    found = running_launchers.launcher_of(run)
    assert found
    assert (found.pid, found.run) == (launcher.pid, run)
    launcher.kill()
    wait_for(lambda: running_launchers.launcher_of(run) is None)


def test_a_run_at_work_goes_by_its_name_from_everywhere(
    run: Path, launcher: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_run(Path("autumn")) == run
    launcher.kill()
    launcher.wait()
    with pytest.raises(RunError, match="There is no run in autumn"):
        find_run(Path("autumn"))


def test_a_run_goes_by_the_name_of_its_directory_below_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    LiveRun(tmp_path / "runs" / "spring", stores=["oslo"])
    assert find_run(Path("spring")) == Path("runs/spring")
    assert find_run(Path("runs/spring")) == Path("runs/spring")
    with pytest.raises(RunError, match=r"There is no run in sprig:.* Did you mean spring\?"):
        find_run(Path("sprig"))
    with pytest.raises(RunError, match="no run in"):
        find_run(Path("x" * 300))


def refused_to_nobody(run: Path, ask: Callable[[], object], words: str) -> bool:
    """Return whether a process of another user, which may look at `run`, is refused in these
    words.
    """
    for folder in [run, *run.parents]:
        if Path(tempfile.gettempdir()) in folder.parents:
            folder.chmod(folder.stat().st_mode | 0o055)
    child = os.fork()
    if child == 0:  # the interpreter, and all that it has loaded, may be another user's to read
        os.setuid(65534)
        try:
            ask()
        except RunError as error:
            os._exit(7 if words in str(error) else 1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@pytest.mark.skipif(os.getuid() != 0, reason="needs to be root to be another user, too")
def test_another_users_run_is_neither_taken_for_a_dead_one_nor_stopped(
    run: Path, launcher: subprocess.Popen[str]
) -> None:
    (run / "flower").chmod(0o755)
    (run / "flower" / "launcher.lock").chmod(0o644)
    assert refused_to_nobody(
        run, lambda: stop.stop(run, at_once=False), "belongs to root; stop it as that"
    )
    assert launcher.poll() is None
    (run / "flower").chmod(0o700)
    assert refused_to_nobody(run, lambda: find_run(run), "belongs to the user root")


def test_the_nearest_name() -> None:
    known = ["oslo-7", "lyon-2"]
    assert nearest("Olso-7", known) == "oslo-7"
    assert nearest("quito", known) is None
    assert did_you_mean("lyon", known) == " Did you mean lyon-2?"


def test_a_comparison_is_no_run_of_a_folder(tmp_path: Path) -> None:
    for name, files in (("run", ["config.toml"]), ("comparison", ["config.toml", COMPARISON_FILE])):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    assert run_directories(tmp_path) == [tmp_path / "run"]
    assert find_run(None, tmp_path) == tmp_path / "run"
