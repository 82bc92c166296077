"""Messages that the door carries by itself: held polls, whose orders and answers are whose, and
what outlives whom.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.supercore.task_identity import TaskIdentity
from google.protobuf.message import Message as ProtoMessage

from fedshelf.client.connection.framing import (
    MessageHeader,
    OutgoingMessage,
    assemble,
    make_reply,
    read_headers,
    split,
)
from fedshelf.common.protocol.enrolment import HELD_HEADER, PROCESS_HEADER, process_header
from fedshelf.server.gateway.exchange import HOLD_SECONDS
from fedshelf.server.grid.mailbox import GONE, Mailbox
from fedshelf.server.grid.reply_puller import UNREADABLE
from fedshelf.server.ipc.presence import INTERVAL
from fedshelf.server.ipc.run_mailbox import ANSWERS_FOLDER, ORDERS_FILE, PARTS_FOLDER
from tests.helpers.deployed import free_port, wait_for

OSLO = 11
ROMA = 12
STRANGER = 13
Reply = TypeVar("Reply", bound=ProtoMessage)


class SuperLink:
    """Lets OSLO in, takes heartbeats of the nodes that it knows, and answers 404 to all else.

    seen:      the paths
    intervals: of heartbeats, as it was told them
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.seen = list[str]()
        self.intervals = list[float]()
        seen = self.seen
        intervals = self.intervals

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen.append(call := self.path.rpartition("/")[2])
                status = 200
                answer = b""
                match call:
                    case "send-node-heartbeat":
                        beat = SendNodeHeartbeatRequest.FromString(body)
                        intervals.append(beat.heartbeat_interval)
                        answer = SendNodeHeartbeatResponse(
                            success=beat.node.node_id != STRANGER
                        ).SerializeToString()
                    case "activate-node":
                        intervals.append(
                            fleet.ActivateNodeRequest.FromString(body).heartbeat_interval
                        )
                        answer = fleet.ActivateNodeResponse(node_id=OSLO).SerializeToString()
                    case _:
                        status = 404
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def go(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Door:
    """The door as a process in front of a SuperLink."""

    def __init__(self, place: Path, superlink: int) -> None:
        self._place = place
        self._superlink = superlink
        self.port = free_port()
        self.start()

    def start(self) -> None:
        port = self.port
        answered = self._place / "answered.jsonl"
        command = [
            sys.executable,
            "-m",
            "fedshelf.server.gateway.proxy",
            "127.0.0.1",
            str(port),
            str(self._superlink),
            str(answered),
        ]
        self._process = subprocess.Popen(command)
        wait_for(self._is_open)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(60) in (0, -15)

    def _is_open(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200
        return False


class Store:
    """One node that speaks the Fleet API through a door."""

    def __init__(self, door: Door, node_id: int) -> None:
        self.node = Node(node_id=node_id)
        headers = {"content-type": "application/protobuf", "flwr-public-key": f"key-{node_id}"}
        headers[PROCESS_HEADER] = process_header(f"{node_id:032x}", 5.0)
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{door.port}/v1/fleet/", headers=headers, timeout=60
        )
        self.headers = self._client.headers

    def post(self, call: str, request: ProtoMessage) -> httpx.Response:
        return self._client.post(call, content=request.SerializeToString())

    def ask(self, call: str, request: ProtoMessage, reply: type[Reply]) -> Reply:
        response = self.post(call, request)
        assert response.status_code == 200, call
        return reply.FromString(response.content)

    def poll(self) -> list[MessageHeader]:
        response = self.post("pull-messages", fleet.PullMessagesRequest(node=self.node))
        assert float(response.headers[HELD_HEADER]) == HOLD_SECONDS
        return read_headers(fleet.PullMessagesResponse.FromString(response.content))

    def fetch(self, head: MessageHeader) -> Message:
        pieces = {each: self.part(each, head.run_id).object_content for each in head.pieces}
        confirm = ConfirmMessageReceivedRequest(node=self.node, message_object_id=head.message_id)
        self.ask("confirm-message-received", confirm, ConfirmMessageReceivedResponse)
        return assemble(head, pieces)

    def part(self, piece: str, run_id: int) -> PullObjectResponse:
        request = PullObjectRequest(node=self.node, run_id=run_id, object_id=piece)
        return self.ask("pull-object", request, PullObjectResponse)

    def pack(self, message: Message, text: str) -> OutgoingMessage:
        return split(make_reply(message, record(text)), self.node, 0.0)

    def announce(self, parcel: OutgoingMessage) -> fleet.PushMessagesResponse:
        return self.ask("push-messages", parcel.announcement, fleet.PushMessagesResponse)

    def push(self, session: str, piece: str, content: bytes) -> bool:
        request = PushObjectRequest(
            node=self.node, object_id=piece, object_content=content, session_id=session
        )
        return bool(self.ask("push-object", request, PushObjectResponse).stored)

    def answer(self, message: Message, text: str) -> None:
        parcel = self.pack(message, text)
        granted = self.announce(parcel)
        assert all(
            self.push(granted.session_id, each, parcel.objects[each])
            for each in granted.objects_to_push
        )


def record(text: str) -> RecordDict:
    return RecordDict({"header": ConfigRecord({"text": text})})


def text_of(message: Message | None) -> object:
    assert message is not None
    content = message.content["header"]
    assert isinstance(content, ConfigRecord)
    return content["text"]


@pytest.fixture
def superlink() -> Iterator[SuperLink]:
    link = SuperLink()
    yield link
    link.go()


@pytest.fixture
def door(superlink: SuperLink, tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path, superlink.port)
    yield door
    door.stop()


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    TaskIdentity.task_id = 1
    TaskIdentity.run_id = 1
    TaskIdentity.node_id = 1
    return Mailbox(tmp_path)


def test_a_held_poll_is_answered_once_there_is_an_order_and_the_superlink_knows_nothing_of_it(
    door: Door, mailbox: Mailbox, superlink: SuperLink
) -> None:
    oslo = Store(door, OSLO)
    with ThreadPoolExecutor(1) as thread:
        poll = thread.submit(oslo.poll)
        wait_for(lambda: superlink.seen)  # by one heartbeat it has heard that this is Oslo
        (order,) = mailbox.send(record("train"), "train", {OSLO: 60.0})
        # on a slow machine the first may have been over
        found = poll.result(60) or wait_for(oslo.poll)
    assert [head.message_id for head in found] == [order]
    message = oslo.fetch(found[0])
    assert text_of(message) == "train"
    oslo.answer(message, "trained")
    assert order is not None
    assert text_of(mailbox.take(order)) == "trained"
    assert mailbox.take(order) is None
    assert set(superlink.seen) == {"send-node-heartbeat"}


def test_an_order_is_handed_out_once_and_to_its_node_alone(
    door: Door, mailbox: Mailbox, superlink: SuperLink
) -> None:
    oslo = Store(door, OSLO)
    roma = Store(door, ROMA)
    (order,) = mailbox.send(record("for Oslo"), "train", {OSLO: 60.0})
    (for_roma,) = mailbox.send(record("for Roma"), "train", {ROMA: 60.0})
    (head,), (other,) = wait_for(oslo.poll), wait_for(roma.poll)
    assert (head.message_id, other.message_id) == (order, for_roma)
    superlink.seen.clear()
    for piece in head.pieces:
        request = PullObjectRequest(node=roma.node, object_id=piece)
        # the SuperLink's, who was asked
        assert roma.post("pull-object", request).status_code == 404
    parcel = roma.pack(oslo.fetch(head), "I am Oslo")
    assert roma.post("push-messages", parcel.announcement).status_code in (404, 422)
    claimed = PullObjectRequest(node=oslo.node, object_id=head.message_id)
    # plain HTTP trusts what the SuperLink has said of it
    assert roma.post("pull-object", claimed).status_code == 200
    (second,) = mailbox.send(record("for Oslo, too"), "train", {OSLO: 60.0})
    (head,) = wait_for(oslo.poll)
    assert head.message_id == second
    assert order is not None
    assert mailbox.take(order) is None


def test_a_node_that_the_superlink_does_not_know_is_given_nothing(
    door: Door, mailbox: Mailbox, superlink: SuperLink
) -> None:
    mailbox.send(record("secret"), "train", {STRANGER: 60.0})
    stranger = Store(door, STRANGER)
    for _ in range(2):
        response = stranger.post("pull-messages", fleet.PullMessagesRequest(node=stranger.node))
        assert (response.status_code, response.content) == (404, b"")
    assert superlink.seen == ["send-node-heartbeat", "pull-messages"] * 2


def test_heartbeats_are_passed_on_now_and_then(door: Door, superlink: SuperLink) -> None:
    oslo = Store(door, OSLO)
    beat = SendNodeHeartbeatRequest(node=oslo.node, heartbeat_interval=10)
    for _ in range(5):
        assert oslo.ask("send-node-heartbeat", beat, SendNodeHeartbeatResponse).success
    assert superlink.seen == ["send-node-heartbeat"]


def test_a_node_that_the_superlink_lets_in_has_proven_itself(
    door: Door, mailbox: Mailbox, superlink: SuperLink
) -> None:
    oslo = Store(door, OSLO)
    joining = fleet.ActivateNodeRequest(public_key=b"key", heartbeat_interval=10.0)
    assert oslo.ask("activate-node", joining, fleet.ActivateNodeResponse).node_id == OSLO
    (order,) = mailbox.send(record("train"), "train", {OSLO: 60.0})
    (head,) = wait_for(oslo.poll)
    assert head.message_id == order
    assert (superlink.seen, superlink.intervals) == (["activate-node"], [INTERVAL])


def test_flowers_own_supernode_is_not_kept_waiting(
    door: Door, mailbox: Mailbox, superlink: SuperLink
) -> None:
    """It sends no answers while it asks for messages."""
    theirs = Store(door, OSLO)
    del theirs.headers[PROCESS_HEADER]
    response = theirs.post("pull-messages", fleet.PullMessagesRequest(node=theirs.node))
    assert (response.status_code, response.content, HELD_HEADER in response.headers) == (
        200,
        b"",
        False,
    )
    assert superlink.seen == ["send-node-heartbeat"]
    (order,) = mailbox.send(record("train"), "train", {OSLO: 60.0})
    wait_for(
        lambda: theirs.post("pull-messages", fleet.PullMessagesRequest(node=theirs.node)).content
    )
    assert order is not None


def test_without_an_app_the_superlink_is_asked_for_messages(
    door: Door, superlink: SuperLink
) -> None:
    oslo = Store(door, OSLO)
    assert oslo.post("pull-messages", fleet.PullMessagesRequest(node=oslo.node)).status_code == 404
    assert superlink.seen == ["pull-messages"]


def test_a_door_that_was_killed_hands_out_what_is_not_answered(
    door: Door, mailbox: Mailbox
) -> None:
    first, second = mailbox.send(record("a"), "train", {OSLO: 60.0}) + mailbox.send(
        record("b"), "train", {OSLO: 60.0}
    )
    assert first is not None
    assert second is not None
    oslo = Store(door, OSLO)
    (head,) = wait_for(oslo.poll)
    assert head.message_id == first
    oslo.answer(oslo.fetch(head), "of a")
    door.kill()
    door.start()
    (head,) = wait_for(oslo.poll)
    assert head.message_id == second  # the first is complete, though the app has not looked yet
    parcel = oslo.pack(oslo.fetch(head), "of b")
    granted = oslo.announce(parcel)
    piece = granted.objects_to_push[0]
    assert oslo.push(granted.session_id, piece, parcel.objects[piece])
    door.kill()
    door.start()
    (again,) = wait_for(oslo.poll)
    assert again.message_id == second
    assert mailbox.take(second) is None  # half an answer is none
    oslo.answer(oslo.fetch(again), "of b, whole")
    assert (text_of(mailbox.take(first)), text_of(mailbox.take(second))) == ("of a", "of b, whole")


def test_an_app_that_begins_anew_leaves_nothing_of_the_one_before(
    door: Door, mailbox: Mailbox, superlink: SuperLink, tmp_path: Path
) -> None:
    mailbox.send(record("old"), "train", {OSLO: 60.0})
    oslo = Store(door, OSLO)
    (head,) = wait_for(oslo.poll)
    parcel = oslo.pack(oslo.fetch(head), "late")
    (order,) = Mailbox(tmp_path).send(record("new"), "train", {OSLO: 60.0})
    (found,) = wait_for(oslo.poll)
    assert found.message_id == order
    # the SuperLink's word on it
    assert oslo.post("push-messages", parcel.announcement).status_code == 404
    assert superlink.seen[-1] == "push-messages"


def test_pieces_that_are_not_what_they_say_are_not_taken(door: Door, mailbox: Mailbox) -> None:
    (order,) = mailbox.send(record("train"), "train", {OSLO: 60.0})
    assert order is not None
    oslo = Store(door, OSLO)
    (head,) = wait_for(oslo.poll)
    parcel = oslo.pack(oslo.fetch(head), "trained")
    granted = oslo.announce(parcel)
    for piece in granted.objects_to_push:
        assert not oslo.push(granted.session_id, piece, b"x" + parcel.objects[piece])
    assert not oslo.push(granted.session_id, "../../orders", b"x")
    assert mailbox.take(order) is None
    again = oslo.announce(parcel)
    assert (again.session_id, set(again.objects_to_push)) == (
        granted.session_id,
        set(parcel.objects),
    )


def test_what_nobody_waits_for_is_gone_from_the_disk(tmp_path: Path, mailbox: Mailbox) -> None:
    first = mailbox.send(record("shared"), "train", {OSLO: 60.0, ROMA: 60.0})
    parts = set((tmp_path / PARTS_FOLDER).iterdir())
    assert len(parts) == 2  # the records and the one record in them, once for both
    mailbox.forget(filter(None, first[:1]))
    assert set((tmp_path / PARTS_FOLDER).iterdir()) == parts
    mailbox.forget(filter(None, first[1:]))
    assert not list((tmp_path / PARTS_FOLDER).iterdir())


def test_the_list_begins_anew_with_what_is_not_answered(
    tmp_path: Path, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedshelf.server.grid.mailbox.MAX_ORDER_LIST_BYTES", 10_000)
    orders = [mailbox.send(record(str(number)), "train", {OSLO: 60.0})[0] for number in range(50)]
    mailbox.forget(filter(None, orders[:-1]))
    mailbox.send(record("last"), "train", {OSLO: 60.0})
    lines = [json.loads(line) for line in (tmp_path / ORDERS_FILE).read_text().splitlines()]
    done = {line["done"] for line in lines if "done" in line}
    assert orders[-1] in {line["order"] for line in lines if "order" in line} - done
    assert (tmp_path / ORDERS_FILE).stat().st_size < 20_000


def test_a_node_that_is_gone_answers_as_flower_has_it(mailbox: Mailbox) -> None:
    (order,) = mailbox.send(record("train"), "train", {OSLO: 60.0})
    assert order is not None
    assert mailbox.lost(order, {OSLO}) is None
    gone = mailbox.lost(order, {ROMA})
    assert gone is not None
    assert (gone.error.code, gone.metadata.reply_to_message_id) == (GONE, order)


def test_nonsense_in_place_of_an_answer_is_an_error_of_its_store(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    (order,) = mailbox.send(record("train"), "train", {OSLO: 60.0})
    assert order is not None
    (tmp_path / ANSWERS_FOLDER / order).write_bytes(
        b"0" * 64 + b"1" * 64 + (3).to_bytes(8, "big") + b"abc"
    )
    answer = mailbox.take(order)
    assert answer is not None
    assert (answer.error.code, answer.metadata.reply_to_message_id) == (UNREADABLE, order)
