"""The door tells the app of long transfers, and the app tells the door which answers nobody waits
for.
"""

import time
from pathlib import Path

import pytest
from flwr.clientapp import ClientApp
from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, Message
from flwr.proto.node_pb2 import Node

import fedshelf.server.ipc.traffic
from fedshelf.server.grid.connection import GridConnection
from fedshelf.server.ipc import withdrawals
from fedshelf.server.ipc.run_mailbox import TRAFFIC, WITHDRAWN
from fedshelf.server.ipc.traffic import (
    ALIVE,
    FLOWS_WRITE_INTERVAL_SECONDS,
    LONG,
    MAX_FLOWS,
    Flow,
    TrafficReader,
    TrafficRecorder,
)
from fedshelf.server.ipc.withdrawals import Withdrawals, Withdrawn
from tests.helpers.deployed import LocalGrid

FIRST = "a" * 64
SECOND = "b" * 64


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / TRAFFIC


@pytest.fixture
def traffic(path: Path, clock: list[float]) -> TrafficRecorder:
    return TrafficRecorder(path, lambda: clock[0])


@pytest.fixture
def reader(path: Path, clock: list[float]) -> TrafficReader:
    return TrafficReader(path, lambda: clock[0])


def announce(traffic: TrafficRecorder, key: str, node: int) -> None:
    traffic.announced(key, PushMessagesRequest(node=Node(node_id=node)).SerializeToString())


def hand_out(traffic: TrafficRecorder, key: str, node: int, messages: int) -> None:
    request = PullMessagesRequest(node=Node(node_id=node)).SerializeToString()
    traffic.handed_out(
        key, request, PullMessagesResponse(messages_list=[Message()] * messages).SerializeToString()
    )


def test_a_long_transfer_is_told_of_while_bytes_come(
    traffic: TrafficRecorder, reader: TrafficReader, clock: list[float], path: Path
) -> None:
    announce(traffic, "key", 7)
    traffic.count("key", "up", 100)
    assert not path.exists()  # a quick one
    clock[0] += LONG + 1
    traffic.count("key", "up", 100)
    traffic.count("key", "down", 100)
    traffic.count("another", "up", 100)
    assert reader.flows() == {7: Flow("up", 200, 1000.0, 1000.0 + LONG + 1)}
    clock[0] += ALIVE
    assert reader.flows() == {}


def test_what_comes_next_is_counted_anew(
    traffic: TrafficRecorder, reader: TrafficReader, clock: list[float]
) -> None:
    announce(traffic, "key", 7)
    traffic.count("key", "up", 100)
    hand_out(traffic, "key", 7, messages=0)
    clock[0] += LONG + 1
    traffic.count("key", "up", 100)
    assert reader.flows()[7].bytes == 200
    hand_out(traffic, "key", 7, messages=1)
    clock[0] += LONG + 1
    traffic.count("key", "down", 5)
    assert reader.flows() == {7: Flow("down", 5, 1000.0 + LONG + 1, 1000.0 + 2 * (LONG + 1))}


def test_what_is_no_message_counts_for_nothing(
    traffic: TrafficRecorder, clock: list[float]
) -> None:
    traffic.announced("key", b"\xff")
    traffic.handed_out("key", b"\xff", b"\xff")
    clock[0] += LONG + 1
    traffic.count("key", "up", 1)
    for number in range(MAX_FLOWS + 1):
        announce(traffic, str(number), number)
    assert len(traffic._flows) == MAX_FLOWS


def test_a_damaged_file_tells_nothing(path: Path, reader: TrafficReader) -> None:
    for content in ("", "[]", '{"7": {"way": "sideways"}}', '{"7": 1}'):
        path.write_text(content)
        assert reader.flows() == {}
    assert TrafficReader(None).flows() == {}


def test_a_store_whose_answer_comes_is_there_though_its_heartbeats_are_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fedshelf.server.ipc.traffic, "ALIVE", 1e9)
    grid = LocalGrid()
    clock = [time.time() - LONG - 1]
    link = GridConnection(grid, 1.0, tmp_path / "answered.jsonl")
    traffic = TrafficRecorder(tmp_path / TRAFFIC, lambda: clock[0])
    grid.apps = {7: ClientApp(), 8: ClientApp()}
    assert link.nodes() == {7, 8}
    announce(traffic, "one", 7)
    announce(traffic, "a stranger to the grid", 9)
    hand_out(traffic, "another", 8, messages=1)
    clock[0] = time.time()
    for key, way in (("a stranger to the grid", "up"), ("another", "down"), ("one", "up")):
        clock[0] += FLOWS_WRITE_INTERVAL_SECONDS + 1
        traffic.count(key, way, 1)
    grid.apps = {}
    assert link.nodes() == {7}
    assert GridConnection(grid, 1.0).nodes() == set()


def asks(order: str) -> bytes:
    return bytes(ConfirmMessageReceivedRequest(message_object_id=order).SerializeToString())


def test_the_door_knows_which_orders_were_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / WITHDRAWN
    app = Withdrawals(path)
    door = Withdrawn(path)
    assert not door.has(asks(FIRST))
    app.add([FIRST])
    app.add([])
    assert (door.has(asks(FIRST)), door.has(asks(SECOND)), door.has(b"\xff")) == (
        True,
        False,
        False,
    )
    monkeypatch.setattr(withdrawals, "MAX_WITHDRAWALS_BYTES", 100)
    app.add([SECOND])  # the file begins anew
    assert path.read_text().count("\n") == 1
    assert (door.has(asks(FIRST)), door.has(asks(SECOND))) == (True, True)
    Withdrawals(None).add([FIRST])
    path.unlink()
    path.mkdir()
    app.add([FIRST])  # what cannot be written down is sent in vain
