import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedshelf.server.main import app
from tests.helpers.commands import call
from tests.helpers.live_runs import LiveRun

Status = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Status:
    """`flower-server status`, in the folder above that of the runs."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: call(app, "status", *arguments, COLUMNS="120", NO_COLOR="1")


@pytest.fixture
def run(tmp_path: Path) -> LiveRun:
    return LiveRun(tmp_path / "runs" / "chain", stores=["lyon-2", "oslo-7", "süd [red]2"])


def test_a_run_at_work(run: LiveRun, status: Status) -> None:
    run.play(1, 12)
    run.tell(**{"oslo-7": {"state": "away", "why": "no sign of life"}})
    run.say(note="oslo-7 is away.")
    with run.at_work():
        done = status()
    assert done.returncode == 0, done.stderr
    for words in (
        "chain  Training",
        "12/20 rounds",
        "Away (no sign of life)",
        "süd [red]2",
        "oslo-7 is away.",
    ):
        assert words in done.stdout


def test_exit_codes(run: LiveRun, status: Status) -> None:
    run.play(1, 4)
    assert status().returncode == 4, "nobody is at work on it"
    run.end("stopped")
    assert status().returncode == 0
    run.fail("Too few stores.")
    failed = status("runs/chain")
    assert (failed.returncode, "Too few stores." in failed.stdout) == (4, True)


def test_json_for_programs(run: LiveRun, status: Status) -> None:
    run.play(1, 20)
    run.end()
    done = status(run.path, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert (told["status"], told["round"], told["rounds"], len(told["stores"])) == (
        "finished",
        20,
        20,
        3,
    )
    assert told["accuracy"]["test"][-1] == [20, run.records[-1]["test"]["accuracy"]]


def test_no_run(status: Status) -> None:
    done = status()
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("Error: There is no run below")


def test_status_loads_nothing_heavy(run: LiveRun) -> None:
    look = (
        "import sys, server.main, server.monitor.terminal\nfrom pathlib import Path\nfrom"
        " fedshelf.server.monitor.reader import"
        f" RunReader\nRunReader(Path({str(run.path)!r})).look()\nprint(sorted({{'torch', 'flwr',"
        " 'matplotlib', 'numpy', 'pydantic', 'starlette'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
