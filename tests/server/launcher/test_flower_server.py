"""Flower's server side as we start it: what can be reached, by whom, and what is left when it
ends.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fedshelf.common.errors import NetworkError
from fedshelf.server.addresses import Address
from fedshelf.server.launcher.flower_server import FlowerServer
from tests.helpers.deployed import free_port, processes_of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "flower"


@pytest.fixture(scope="module")
def flower(place: Path) -> Iterator[FlowerServer]:
    with FlowerServer(place, Address("127.0.0.1", free_port()), None) as flower:
        yield flower
    assert processes_of(place) == []


def through_the_door(flower: FlowerServer, path: str) -> int:
    return httpx.post(f"http://{flower.address}{path}", content=b"").status_code


def at_the_superlink(flower: FlowerServer, path: str) -> int:
    headers = {"content-type": "application/protobuf", "accept": "application/protobuf"}
    return httpx.post(
        f"http://127.0.0.1:{flower.superlink_port}{path}", content=b"", headers=headers
    ).status_code


@pytest.mark.parametrize(
    "path", ["/v1/control/start-run", "/v1/control/list-runs", "/v1/runtime/acquire-task"]
)
def test_strangers_cannot_start_runs_nor_take_tasks_through_the_door(
    flower: FlowerServer, path: str
) -> None:
    assert at_the_superlink(flower, path) not in (
        404,
        405,
    ), "the path is one that the SuperLink serves"
    assert through_the_door(flower, path) == 404


def test_who_reaches_the_superlink_cannot_take_the_servers_task_without_the_secret(
    flower: FlowerServer,
) -> None:
    assert at_the_superlink(flower, "/v1/runtime/acquire-task") == 401


def test_a_stranger_cannot_speak_for_a_store(flower: FlowerServer) -> None:
    headers = {"content-type": "application/protobuf", "accept": "application/protobuf"}
    answer = httpx.post(
        f"http://{flower.address}/v1/fleet/pull-messages", content=b"", headers=headers
    )
    assert answer.status_code == 401


def test_nobody_else_on_the_machine_can_read_the_state(flower: FlowerServer, place: Path) -> None:
    assert flower
    files = [
        place,
        *(path for path in place.rglob("*") if path.is_dir() or path.suffix in (".db", ".secret")),
    ]
    assert {path.name for path in files} >= {"flower", "state.db", "superexec.secret"}
    private = [path for path in files if not stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert place in private, "nothing below can be reached by others"
    assert all(path in private for path in files if path.is_file())


def test_a_port_in_use_is_one_clear_sentence(flower: FlowerServer, tmp_path: Path) -> None:
    with pytest.raises(
        NetworkError, match=rf"^Port {flower.address.port} on 127.0.0.1 cannot be used .* --port\.$"
    ):
        FlowerServer(tmp_path / "other", flower.address, None).__enter__()
    assert processes_of(tmp_path) == []


def test_a_child_that_dies_is_back_at_once(flower: FlowerServer) -> None:
    group = flower.children.process_groups()["door"]
    os.kill(group, 9)
    os.waitid(os.P_PID, group, os.WEXITED | os.WNOWAIT)
    assert flower.restart_dead() == ["door"]
    assert flower.children.process_groups()["door"] != group
