"""The live page as a person has it: served by a process of its own, in a real browser, beside a
real run.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.helpers.browser import Tab, chromium
from tests.helpers.deployed import free_port, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.live_runs import LiveRun

THREE = ["lyon-2", "oslo-7", "süd 2"]
HOSTILE = [
    "<script>document.title='taken'</script>",
    '"><img src=x onerror=document.title=1>',
    "x" * 63,
    "a b",
]


@pytest.fixture
def serve() -> Iterator[Callable[[LiveRun, int], subprocess.Popen[bytes]]]:
    """Starts the live page of a run on a port, and waits until it answers."""
    started: list[subprocess.Popen[bytes]] = []

    def start(run: LiveRun, port: int) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "fedshelf.server.monitor", str(run.path), str(port)]
            )
        )
        wait_for(lambda: answers(port))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/live.js", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def make(path: Path, stores: list[str], played: int) -> LiveRun:
    run = LiveRun(path, stores=stores, rounds=30)
    run.joined()
    run.play(1, played)
    run.tell(**{stores[0]: {"state": "away", "why": "no sign of life"}})
    run.say(note=f"{stores[0]} is away.")
    return run


def test_an_open_page_learns_how_the_run_ended(
    tmp_path: Path, serve: Callable[[LiveRun, int], subprocess.Popen[bytes]]
) -> None:
    run = make(tmp_path / "chain", THREE, 3)
    port = free_port()
    page = serve(run, port)
    news = httpx.get(f"http://127.0.0.1:{port}/news", trust_env=False).json()
    page.send_signal(signal.SIGTERM)
    run.end()
    answer = httpx.get(
        f"http://127.0.0.1:{port}/news", params={"seen": news["version"]}, trust_env=False
    )
    assert answer.json()["over"]
    assert "Finished" in answer.json()["parts"]["head"]
    page.wait(20)


def test_nobody_else_than_this_machine_is_served(
    tmp_path: Path, serve: Callable[[LiveRun, int], subprocess.Popen[bytes]]
) -> None:
    port = free_port()
    serve(make(tmp_path / "chain", THREE, 1), port)
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = {line.split()[1] for line in listening if line.split()[3] == "0A"}
    assert f"0100007F:{port:04X}" in local
    assert f"00000000:{port:04X}" not in local


@pytest.mark.slow(minutes=0.5)
@pytest.mark.parametrize("stores", [THREE, HOSTILE, [f"store-{index:02d}" for index in range(60)]])
def test_it_fits_and_is_quiet_in_a_browser(
    tmp_path: Path, stores: list[str], serve: Callable[[LiveRun, int], subprocess.Popen[bytes]]
) -> None:
    run = make(tmp_path / "chain", stores, 20)
    port = free_port()
    with run.at_work(), chromium(tmp_path / "browser") as tab:
        serve(run, port)
        for width in (390, 1400):
            for dark in (False, True):
                tab.open(f"http://127.0.0.1:{port}/", width=width, dark=dark)
                assert tab.run("document.querySelector('h1').textContent") == "chain"
                assert tab.run("innerWidth") == width
                assert tab.overflow() == 0, f"wider than {width} pixels"
                assert tab.run("document.images.length") == 0
                assert "20/30" in tab.run("document.title")
                shown = tab.run(
                    "[...document.querySelectorAll('.stores th[scope]')].map((each) =>"
                    " each.textContent)"
                )
                assert sorted(shown) == sorted(stores)
        assert tab.errors == []


@pytest.mark.slow(minutes=0.5)
def test_it_follows_the_run_through_a_restart(
    tmp_path: Path, serve: Callable[[LiveRun, int], subprocess.Popen[bytes]]
) -> None:
    run = make(tmp_path / "chain", THREE, 3)
    port = free_port()
    with run.at_work(), chromium(tmp_path / "browser") as tab:
        page = serve(run, port)
        tab.open(f"http://127.0.0.1:{port}/", width=390)
        run.play(4, 5)
        says(tab, "5 / 30")
        page.kill()
        page.wait()
        says(tab, "No connection since")
        run.play(6, 7)
        serve(run, port)
        says(tab, "7 / 30")
        wait_for(lambda: tab.run("document.getElementById('link').hidden"))


def says(tab: Tab, words: str) -> None:
    wait_for(lambda: words in tab.run("document.body.innerText"))


@pytest.mark.slow(minutes=0.5)
def test_a_run_has_its_page_while_it_goes_on_and_is_watched_beyond_its_end(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    port = free_port()
    live = free_port()
    watched = free_port()
    watch = command("flower-server", "watch", out, "--port", str(watched))
    watch.says("There is no run in")
    server = command.server(
        out, port, "--stores", "2", "--rounds", "2", "--live-port", str(live), "--log", "json"
    )
    server.says(f"http://127.0.0.1:{live}/")
    for name in ("mitte", "ost"):
        command.store(folders[name], port)
    server.says('"event": "training"')
    for page in (live, watched):
        news = httpx.get(f"http://127.0.0.1:{page}/news", trust_env=False).json()
        assert "mitte" in news["parts"]["stores"]
    present = {f'fedshelf_store_present{{store="{name}"}} 1.0' for name in ("mitte", "ost")}
    wait_for(lambda: present <= set(metrics(watched)))
    assert server.ends() == 0
    assert '"event": "finished"' in server.lines[-1]
    events = [json.loads(line)["event"] for line in server.lines if line.startswith("{")]
    states = [event for event in events if event not in ("note", "starting", "waiting")]
    assert states == [*["training", "judging", "round"] * 2, "finishing", "delivering", "finished"]
    assert "starting" in events
    assert not answers(live)
    assert command("flower-server", "status", out).ends() == 0
    assert httpx.get(f"http://127.0.0.1:{watched}/health", trust_env=False).json() == {
        "status": "finished",
        "round": 2,
    }
    rounds = {f'fedshelf_store_rounds_total{{store="{name}"}} 2.0' for name in ("mitte", "ost")}
    assert {'fedshelf_status{status="finished"} 1.0', "fedshelf_rounds_total 2.0", *rounds} <= set(
        metrics(watched)
    )
    watch.interrupt()
    assert watch.ends() == 130


def metrics(port: int) -> list[str]:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text.splitlines()
