"""A run's page keeps its port from one start to the next, and never has another run's."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedshelf.common.errors import NetworkError
from fedshelf.server.launcher.page_port import FIRST_PAGE_PORT, MAX_REMEMBERED_RUNS, page_port


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def used() -> Iterator[int]:
    """A port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def run(place: Path, status: str = "") -> Path:
    place.mkdir(exist_ok=True)
    if status:
        (place / "summary.json").write_text(json.dumps({"status": status}))
    return place


def test_two_runs_have_ports_of_their_own_whichever_starts_first_again(tmp_path: Path) -> None:
    oslo = run(tmp_path / "oslo")
    lyon = run(tmp_path / "lyon")
    first = page_port(oslo, None).port
    second = page_port(lyon, None).port
    assert first >= FIRST_PAGE_PORT
    assert second != first
    for _ in range(2):
        assert page_port(lyon, None).port == second
        assert page_port(oslo, None).port == first


def test_the_port_of_a_finished_run_is_free_for_another_and_that_of_a_stopped_one_is_not(
    tmp_path: Path,
) -> None:
    first = page_port(run(tmp_path / "a"), None).port
    run(tmp_path / "a", "stopped")
    second = page_port(run(tmp_path / "b"), None).port
    assert second != first
    run(tmp_path / "a", "finished")
    # the first's, unless a program of somebody else's uses that just now
    third = page_port(run(tmp_path / "c"), None)
    assert third.port != second
    assert third.port < FIRST_PAGE_PORT + 20
    assert page_port(tmp_path / "a", None).port != third.port


def test_a_run_that_is_moved_away_leaves_its_port_to_the_next_in_its_place(tmp_path: Path) -> None:
    first = page_port(run(tmp_path / "current"), None).port
    (tmp_path / "current").rename(tmp_path / "old")
    assert page_port(run(tmp_path / "current"), None).port == first


def test_a_port_that_is_asked_for_is_kept_and_refused_if_another_program_uses_it(
    tmp_path: Path, used: int
) -> None:
    with pytest.raises(
        NetworkError, match=rf"--live-port got {used}, which another program on this machine uses"
    ):
        page_port(run(tmp_path / "a"), used)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        asked = listener.getsockname()[1]
    assert page_port(tmp_path / "a", asked).port == asked
    assert page_port(tmp_path / "a", None).port == asked


def test_a_port_that_another_program_uses_for_now_stays_the_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert page_port(run(tmp_path / "a"), port).is_free
    with socket.create_server(("127.0.0.1", port)):
        again = page_port(tmp_path / "a", None)
        assert (again.port, again.is_free) == (port, False)
        assert (
            f"Another program uses port {port}, which is the port of this run's page"
            in again.message()
        )
    assert (
        page_port(tmp_path / "a", None).message() == f"The run as a page: http://127.0.0.1:{port}/"
    )


def test_no_run_fails_for_want_of_its_ports_memory(tmp_path: Path, state: Path) -> None:
    state.write_text("in the way")
    page = page_port(run(tmp_path / "a"), None)
    assert page.port >= FIRST_PAGE_PORT
    assert f"may have another port: {state}: " in page.message()
    state.unlink()
    state.mkdir()
    (state / "page-ports.json").write_text("{damaged")
    assert page_port(run(tmp_path / "a"), None).port >= FIRST_PAGE_PORT


def test_runs_that_are_gone_are_forgotten_in_the_end(tmp_path: Path, state: Path) -> None:
    for number in range(MAX_REMEMBERED_RUNS + 1):
        page_port(tmp_path / f"gone {number}", 20_000 + number)
    assert list(json.loads((state / "page-ports.json").read_text())["ports"]) == [
        str(tmp_path / f"gone {MAX_REMEMBERED_RUNS}")
    ]
