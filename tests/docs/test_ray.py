"""Commands of docs/how-to/ray.md: a cluster on this machine, and a run on it."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.deployed import SCRIPTS, draw_photos, free_port, wait_for
from tests.helpers.page_commands import PageCommands
from tests.helpers.simulation_command import run_process, summary

ON_LOOPBACK = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # as on systems where Ray has no clusters of several machines; else it takes another address
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


@contextmanager
def head(line: str, port: str, log: Path) -> Iterator[None]:
    """Start a cluster by a command of the page, in the foreground, until the context ends."""
    files = tempfile.mkdtemp(prefix="ray-")  # the paths of its sockets must be short
    here = (
        "--block", "--port", port, "--node-ip-address", "127.0.0.1", "--temp-dir", files,
        "--include-dashboard", "false", "--num-cpus", "2", "--object-store-memory", "80000000",
    )  # fmt: skip
    program, *words = shlex.split(line)
    with log.open("wb") as out:
        node = subprocess.Popen(
            [SCRIPTS / program, *words, *here],
            stdout=out,
            stderr=out,
            env=os.environ | ON_LOOPBACK,
        )
    try:
        wait_for(lambda: "Ray runtime started" in log.read_text() or node.poll() is not None)
        assert node.poll() is None, log.read_text()
        yield
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(60)
        shutil.rmtree(files, ignore_errors=True)


@pytest.mark.slow(minutes=0.5)
def test_a_run_uses_the_cluster_that_the_page_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)
    draw_photos(Path("photos"), ("boot", "hat", "shirt"), per_class=50)
    port = str(free_port())
    page = PageCommands("docs/how-to/ray.md", {"10.0.0.5:6379": f"127.0.0.1:{port}"})
    quick = ("--rounds", "1", "--model", "cnn", "--set", "data.image_size=16", "--out", "run")
    with head(page.take("ray start --head"), port, tmp_path / "head.log"):
        _, *words = shlex.split(page.take("flower-simulation run"))
        done = run_process(*words, *quick)
    assert done.returncode == 0, done.stderr
    told = summary(Path("run"))
    assert (told["status"], told["stores"]) == ("finished", 100)
    assert page.left == []
