"""An order that comes again is answered from memory, but never with what photos said that have been
deleted since.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest
import torch
from flwr.app import Message, MessageType, RecordDict
from flwr.proto.node_pb2 import Node

from fedshelf.client.connection.framing import MessageHeader, OutgoingMessage, make_reply, split
from fedshelf.client.identity.home import store_home
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.worker_process import WorkerProcess, WorkerSettings
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.protocol.messages import TrainOrder, Update
from fedshelf.common.protocol.serialization import decode_result, encode_order
from fedshelf.common.training.fit import Network
from tests.helpers.bundles import packed
from tests.helpers.deployed import LocalGrid, draw_photos
from tests.helpers.small_plan import CPU, PLAN, SPEC


class Wire:
    """The line to a server that sends the same order again and again, each time as another
    message.
    """

    def __init__(self, order: TrainOrder) -> None:
        LocalGrid()  # makes this process one that may make messages
        self._content = encode_order(order)
        self._number = 0
        self.answers: SimpleQueue[RecordDict] = SimpleQueue()
        self._answer = RecordDict()

    def head(self) -> MessageHeader:
        self._number += 1
        return MessageHeader(str(self._number), "the order", MessageType.TRAIN, 1, 600.0, ())

    def missing_bytes(self, _: MessageHeader) -> int:
        return 0

    def fetch_app_bundle(self, _: int) -> bytes:
        return packed()

    def fetch(self, head: MessageHeader) -> tuple[Message, int]:
        message = Message(self._content, 2, MessageType.TRAIN)
        message.metadata.__dict__["_message_id"] = head.message_id
        return message, 100

    def build_reply(self, message: Message, content: RecordDict, seconds: float) -> OutgoingMessage:
        self._answer = content
        return split(make_reply(message, content), Node(node_id=2), seconds)

    def send(self, parcel: OutgoingMessage, is_wanted: Callable[[], bool] = lambda: True) -> None:
        assert parcel.size
        assert is_wanted()
        self.answers.put(self._answer)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    store_home("oslo").mkdir(parents=True, exist_ok=True)
    return draw_photos(tmp_path / "photos", ["boot", "hat"], 20)


@pytest.fixture
def asked(photos: Path) -> Iterator[Callable[[], Update]]:
    """Sends the store the same order once more; its update."""
    order = TrainOrder(PLAN, 1, Network(SPEC, CPU, seed=1).vector.detach().clone())
    wire = Wire(order)
    with (
        SessionRecorder(store_home("oslo"), Policy()) as recorder,
        closing(
            WorkerProcess(WorkerSettings("oslo", photos, "cpu"), recorder.record_photo_change)
        ) as worker,
    ):
        orders = OrderQueue(worker, recorder)

        def ask() -> Update:
            orders.append(wire, wire.head())  # type: ignore[arg-type]
            update = decode_result(wire.answers.get(timeout=120), order)
            assert isinstance(update, Update), update
            orders.wait_until_idle(120)
            return update

        yield ask


def test_an_answer_is_given_again_until_a_photo_that_it_is_of_is_deleted(
    asked: Callable[[], Update], photos: Path
) -> None:
    first = asked()
    again = asked()
    assert (first.num_examples, again.seconds) == (
        32,
        first.seconds,
    ), "trained twice for one update"
    for number in range(10):
        (photos / "boot" / f"{number}.png").unlink()
    after = asked()
    assert after.num_examples < 32
    assert not torch.equal(after.params, first.params)
    assert asked().seconds == after.seconds
