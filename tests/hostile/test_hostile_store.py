"""A store that means harm loses its own part in a run, and harms no other."""

import json
from collections.abc import Callable, Iterable
from threading import Event

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import PullMessagesResponse, PushMessagesRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import Metadata, ObjectTree
from flwr.proto.node_pb2 import Node
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.client.connection.credentials import new_key
from fedshelf.client.identity.enrolment import enrolment_request
from fedshelf.client.process.handler import make_app
from fedshelf.common.errors import MessageError
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.kit import Kit
from fedshelf.common.protocol.messages import Evaluation, Failure, StoreInfo, Update
from fedshelf.common.protocol.probe import make_presence
from fedshelf.common.protocol.serialization import (
    FrozenWeightsMissing,
    decode_result,
    encode_result,
)
from fedshelf.server.credentials.authorizer import Authorizer
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.gateway.push_inspection import (
    MIN_ALLOWED_PIECES,
    PIECES_PER_PIECE_OF_ORDER,
    SUPERLINK_NODE,
    PushInspector,
)
from fedshelf.server.grid import dispatch, outbox, reply_puller
from fedshelf.server.grid.runtime import GridRuntime
from tests.helpers.damage import altered, as_json, examples, spoiled
from tests.helpers.deployed import LocalGrid, wait_for
from tests.helpers.grid_stores import CONFIG, Doubler, order

# nodes
OWN = 7
OTHER = 9


def announcement(pieces: int = 3, **about: object) -> PushMessagesRequest:
    honest = {
        "run_id": 1,
        "src_node_id": OWN,
        "dst_node_id": SUPERLINK_NODE,
        "reply_to_message_id": "a" * 64,
    }
    tree = ObjectTree(
        object_id="c" * 64, children=[ObjectTree(object_id="d" * 64) for _ in range(pieces - 1)]
    )
    message = ProtoMessage(metadata=Metadata(**{**honest, **about}))
    return PushMessagesRequest(
        node=Node(node_id=OWN), messages_list=[message], message_object_trees=[tree]
    )


def test_an_honest_answer_is_let_through() -> None:
    assert SUPERLINK_NODE == SUPERLINK_NODE_ID
    assert PushInspector().fault(announcement().SerializeToString()) == ""
    assert PushInspector().fault(announcement(MIN_ALLOWED_PIECES).SerializeToString()) == ""


@pytest.mark.parametrize(
    "about",
    [
        {"src_node_id": OTHER},
        {"src_node_id": SUPERLINK_NODE, "reply_to_message_id": ""},
        {"reply_to_message_id": ""},
        {"dst_node_id": OTHER},
        {"src_node_id": SUPERLINK_NODE},
    ],
)
def test_nobody_speaks_for_another_or_for_the_server(about: dict[str, object]) -> None:
    assert "no answer of its own" in PushInspector().fault(
        announcement(**about).SerializeToString()
    )


def test_an_answer_is_as_large_as_its_order_allows() -> None:
    announced = PushInspector()
    large = announcement(PIECES_PER_PIECE_OF_ORDER * 100)
    assert "200 pieces" in announced.fault(large.SerializeToString())
    tree = ObjectTree(object_id="a" * 64, children=[ObjectTree(object_id="b" * 64)] * 99)
    announced.record_orders(PullMessagesResponse(message_object_trees=[tree]).SerializeToString())
    assert announced.fault(large.SerializeToString()) == ""
    assert announced.fault(announcement(PIECES_PER_PIECE_OF_ORDER * 100 + 1).SerializeToString())


def test_an_announcement_of_millions_of_pieces_is_not_even_read() -> None:
    """Reading one of 8 MB, two bytes a piece, took the door 14 s and 1 GB."""
    empty_piece = ObjectTree(children=[ObjectTree()]).SerializeToString()
    large = (
        announcement().SerializeToString()
        + PushMessagesRequest(
            message_object_trees=[ObjectTree.FromString(empty_piece * 100_000)]
        ).SerializeToString()
    )
    assert f"an answer in {len(large)} bytes" in PushInspector().fault(large)


def test_messages_are_announced_one_by_one() -> None:
    two = announcement()
    two.messages_list.append(two.messages_list[0])
    assert "2 messages" in PushInspector().fault(two.SerializeToString())
    assert "0 messages" in PushInspector().fault(b"")


@given(spoiled(announcement().SerializeToString()))
@examples(66)
def test_any_announcement_is_judged(body: bytes) -> None:
    announced = PushInspector()
    announced.record_orders(body)
    assert isinstance(announced.fault(body), str)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = Chain.make(tmp_path_factory.mktemp("chain") / "server", "localhost", 9092)
    chain.write_kit("oslo")
    return chain


@pytest.fixture(scope="module")
def asked(chain: Chain) -> dict[str, str]:
    """An honest request, but for its code."""
    return enrolment_request(Kit.read(chain.kit_path("oslo")), "x" * 43, new_key())


@given(data=st.data())
@examples(26)
def test_requests_to_enrol_are_taken_or_refused(
    chain: Chain, asked: dict[str, str], data: st.DataObject
) -> None:
    guard = Authorizer(chain)
    honest = asked
    forged = (
        as_json(data.draw(altered(honest)))
        if data.draw(st.booleans())
        else data.draw(spoiled(json.dumps(honest).encode()))
    )
    before = chain.stores.path.read_bytes()
    assert guard.enrol("198.51.100.7", forged) is not None
    assert chain.stores.path.read_bytes() == before


class Spiteful(LocalGrid):
    """A grid that does with the answers of node 10 what Flower's does with those that a hostile
    store sends.
    """

    def __init__(self, spite: Callable[[Message], Message]) -> None:
        super().__init__()
        self.spite = spite
        self.is_on = False

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        replies = super().pull_messages(message_ids)
        return [self._bad(reply) for reply in replies]

    def _bad(self, reply: Message) -> Message:
        # a store has nothing to do once it has answered
        if self.is_on and "probe" in reply.content:
            reply.content = make_presence(has=False)
            return reply
        return self.spite(reply) if self.is_on and reply.metadata.src_node_id == 10 else reply


def fails(_: Message) -> Message:
    raise KeyError("an object that was never announced")


def for_another(reply: Message) -> Message:
    reply.metadata.__dict__["_reply_to_message_id"] = "f" * 32
    return reply


def of_garbage(reply: Message) -> Message:
    reply.content = RecordDict({"header": ConfigRecord({"\x1b[2J": 3})})
    return reply


def of_nothing(reply: Message) -> Message:
    reply.__dict__["_content"] = None
    return reply


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[[LocalGrid], GridRuntime]:
    """Stores bad, good and fair on a grid, for a server that soon asks after what is missing."""
    monkeypatch.setattr(outbox, "PROBE_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(dispatch, "PRESENCE_CHECK_SECONDS", 0.1)

    def together(grid: LocalGrid) -> GridRuntime:
        workers = {
            10 + number: Doubler(name) for number, name in enumerate(("bad", "good", "fair"))
        }
        for node, worker in workers.items():
            grid.apps[node] = make_app(lambda _, worker=worker: worker)
        runtime = GridRuntime(grid, CONFIG, "run", lambda _: None, reconnect_grace=0.0)
        wait_for(lambda: len(runtime.stores()) == 3)
        return runtime

    return together


@pytest.mark.parametrize("spite", [fails, for_another, of_garbage, of_nothing])
def test_an_answer_that_is_none_costs_only_its_sender(
    together: Callable[[LocalGrid], GridRuntime], spite: Callable[[Message], Message]
) -> None:
    runtime = together(grid := Spiteful(spite))
    grid.is_on = True
    results = {result.store: result for result in runtime.train(order(3), ["bad", "good", "fair"])}
    assert isinstance(results["good"], Update)
    assert isinstance(results["fair"], Update)
    bad = results["bad"]
    assert isinstance(bad, Failure)
    assert bad.code == "invalid"
    assert "\x1b" not in bad.reason


def test_an_answer_whose_pieces_never_come_keeps_nobody_waiting(
    together: Callable[[LocalGrid], GridRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_puller, "SLOW_REPLY_SECONDS", 0.2)
    released = Event()

    def waits(reply: Message) -> Message:
        released.wait(60)
        return reply

    runtime = together(grid := Spiteful(waits))
    grid.is_on = True
    answers = iter(runtime.train(order(3), ["bad", "good", "fair"]))
    assert {next(answers).store, next(answers).store} == {"good", "fair"}
    released.set()
    assert next(answers).store == "bad"


def test_what_was_sent_is_not_asked_for_again_and_again(
    together: Callable[[LocalGrid], GridRuntime],
) -> None:
    def lacks(reply: Message) -> Message:
        reply.content = encode_result(FrozenWeightsMissing("bad", "0" * 64))
        return reply

    runtime = together(grid := Spiteful(lacks))
    grid.is_on = True
    results = {result.store: result for result in runtime.train(order(3), ["bad", "good"])}
    assert isinstance(results["bad"], Failure)
    assert isinstance(results["good"], Update)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\x1b[2J", "\u202eexe.hat"])
def test_classes_have_names_that_can_be_shown(name: str) -> None:
    with pytest.raises(MessageError):
        decode_result(encode_result(StoreInfo("oslo", {name: 3}, 1, 1)))


def test_counts_do_not_overflow_when_they_are_added() -> None:
    counts = Counts(np.full((2, 2), 2**62, dtype=np.int64) + np.eye(2, dtype=np.int64), 1.0)
    assert counts.num_examples == 2  # which would do for a store of two images
    with pytest.raises(MessageError):
        decode_result(encode_result(Evaluation("oslo", 1, counts)))
    sound = Counts(np.eye(2, dtype=np.int64), 1.0)
    with pytest.raises(MessageError, match=r"'adjusted\.confusion'"):
        decode_result(encode_result(Evaluation("oslo", 1, sound, counts)))


@pytest.mark.parametrize(
    "store", ["../../etc", "a/b", ".", "", "x" * 64, "a\nb", "\x1b[2J", "oslo "]
)
def test_a_name_is_no_path(store: str) -> None:
    grid = LocalGrid()
    grid.apps[10] = make_app(lambda _: Doubler(store))
    notes: list[str] = []
    runtime = GridRuntime(grid, CONFIG, "run", notes.append, reconnect_grace=0.0)
    wait_for(lambda: not runtime.stores() and bool(notes))
    assert "cannot be used" in notes[0]
    assert notes[0].isprintable()


def test_numbers_that_no_store_has_are_refused() -> None:
    from fedshelf.server.updates.buffer import InMemoryBuffer
    from fedshelf.server.updates.screening import Screening

    asked = {name: StoreInfo(name, {"boot": 9}, 1, 1) for name in "abcd"}
    screen = Screening(order(3), asked, {}, InMemoryBuffer())
    screen.take(Update("a", 3, torch.ones(2), 9, 1e300, 1.0))
    screen.take(Update("b", 3, torch.ones(2), 9, 1.0, 1e300))
    screen.take(Update("c", 3, torch.ones(2), 19, 1.0, 1.0))
    screen.take(Update("d", 3, torch.ones(2), 9, 1.0, 1.0))
    screen.take(Update("d", 3, torch.full((2,), 5.0), 9, 1.0, 1.0))
    result = screen.result()
    assert [update.store for update in result.updates] == ["d"]
    assert torch.equal(result.updates[0].params, torch.ones(2))
    assert result.ignored == ["d answered twice; its first answer counts."]
