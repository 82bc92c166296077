"""`flower-server watch` as a process: a page that is there before, during and after a run."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.helpers.deployed import free_port, wait_for
from tests.helpers.live_runs import LiveRun

SCRIPT = Path(sys.executable).parent / "flower-server"


class Watch:
    """A watching process and the page that it serves."""

    def __init__(self, *arguments: str | Path) -> None:
        self.port = free_port()
        command = [SCRIPT, "watch", *arguments, "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False)

    def answers(self) -> bool:
        try:
            return self.get("/live.js").status_code == 200
        except httpx.TransportError:
            return False

    def health(self) -> tuple[int, str]:
        answer = self.get("/health")
        return answer.status_code, answer.json()["status"]


@contextmanager
def watching(*arguments: str | Path) -> Iterator[Watch]:
    watch = Watch(*arguments)
    try:
        wait_for(watch.answers)
        yield watch
    finally:
        watch.process.kill()
        watch.process.communicate()


def test_it_is_there_before_a_run_at_its_end_and_for_the_next_one(tmp_path: Path) -> None:
    place = tmp_path / "current"
    with watching(place) as watch:
        assert watch.health() == (503, "dead")
        assert "There is no run in" in watch.get("/").text
        run = LiveRun(place, stores=["lyon-2", "oslo-7"], rounds=5)
        with run.at_work():
            assert watch.health() == (200, "starting")
            run.joined()
            run.play(1, 5)
            assert watch.health() == (200, "training")
            run.end()
        assert watch.health() == (200, "finished")
        metrics = watch.get("/metrics").text
        assert 'fedshelf_status{status="finished"} 1.0' in metrics
        assert "fedshelf_rounds_total 5.0" in metrics
        shutil.move(place, tmp_path / "first")
        run = LiveRun(place, stores=["lyon-2"], rounds=7)
        with run.at_work():
            run.play(1, 2)
            assert watch.health() == (200, "training")
            metrics = watch.get("/metrics").text
            assert "fedshelf_rounds_total 2.0" in metrics
            assert "oslo-7" not in metrics
        assert watch.health() == (503, "dead")
        run.fail("Too few stores.")
        assert watch.health() == (503, "failed")
        assert 'fedshelf_status{status="failed"} 1.0' in watch.get("/metrics").text
        watch.process.send_signal(signal.SIGTERM)
        said = watch.process.communicate(timeout=300)[0]
        assert watch.process.returncode == 130
        assert said.startswith(f"The run as a page: http://127.0.0.1:{watch.port}/\n")
        assert "Traceback" not in said


def test_it_writes_nothing(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "chain", stores=["lyon-2"])
    run.play(1, 2)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    with watching(run.path) as watch:
        for path in ("/", "/metrics", "/health"):
            assert watch.get(path).status_code in (200, 503)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["folder/yet-to-come", "--port"], 6, "Port {port} on 127.0.0.1 cannot be used"),
        (["chian", "--port"], 4, "There is no run in chian"),
        (["folder/empty", "--port"], 4, "There is no run in folder/empty"),
        (["--port"], 4, "There is no run below"),
    ],
)
def test_mistakes_are_a_sentence(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "folder" / "empty").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [SCRIPT, "watch", *arguments, port],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("Error: " + sentence.format(port=port))
    assert len(done.stderr.splitlines()) == 1
