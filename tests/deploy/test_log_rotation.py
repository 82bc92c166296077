"""Logs of a running server can be moved away, or copied and cut, and nothing of what comes later is
lost.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import pytest

from fedshelf.server.launcher.child_processes import ChildProcesses
from tests.helpers.deployed import wait_for

CHATTY = """
import itertools, time
for number in itertools.count():
    print(number, flush=True)
    time.sleep(0.001)
"""
CONFIGURATION = Path(__file__).parents[2] / "deploy" / "fedshelf.logrotate"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """The log of a process that counts, line by line, until the test is over."""
    children = ChildProcesses(tmp_path, {})
    children.spawn("chatty", [sys.executable, "-c", CHATTY])
    log = tmp_path / "chatty.log"
    wait_for(lambda: len(numbers(log)) > 20)
    yield log
    children.stop()


def numbers(*logs: Path) -> list[int]:
    """The numbers in all whole lines."""
    text = "".join(log.read_text() for log in logs if log.exists())
    return [int(line) for line in text.splitlines(keepends=True)[:-1]]


def test_a_log_that_is_moved_away_is_begun_anew(log: Path) -> None:
    for number in (1, 2):
        log.rename(log.with_suffix(f".{number}"))
        wait_for(lambda: len(numbers(log)) > 20)
    found = numbers(log.with_suffix(".1"), log.with_suffix(".2"), log)
    assert found == list(range(len(found)))
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_log_that_is_cut_goes_on_from_its_beginning(log: Path) -> None:
    before = numbers(log)
    with log.open("r+b") as file:
        file.truncate()
    wait_for(lambda: len(log.read_bytes().split()) > 20)
    # no zero bytes where the old lines were
    after = [int(line) for line in log.read_bytes().split()[1:-1]]
    assert after[-1] > before[-1]


@pytest.mark.parametrize("way", ["as delivered", "copytruncate"])
def test_logrotate_rotates_a_log_in_use(log: Path, tmp_path: Path, way: str) -> None:
    if (program := shutil.which("logrotate", path="/usr/sbin:/usr/bin")) is None:
        pytest.skip("no logrotate on this machine")
    group = subprocess.run(["id", "-gn"], capture_output=True, text=True, check=True).stdout.strip()
    text = re.sub(r"^/\S+", str(log), CONFIGURATION.read_text(), flags=re.MULTILINE)
    text = text.replace("su fedshelf fedshelf", f"su {getuser()} {group}")
    if way == "copytruncate":
        text = text.replace("nocreate", "copytruncate")
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(text)
    configuration.chmod(0o644)
    subprocess.run([program, "--force", "--state", tmp_path / "state", configuration], check=True)
    wait_for(lambda: log.exists() and len(log.read_bytes().split()) > 20)
    rotated = log.with_name("chatty.log.1")
    if way == "copytruncate":
        assert b"\0" not in log.read_bytes()
    else:
        found = numbers(rotated, log)
        assert found == list(range(len(found)))
