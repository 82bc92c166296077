"""A real run, with a store that does its worst against Flower itself."""

from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
import torch
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import ObjectTree, PullObjectRequest
from flwr.proto.node_pb2 import Node

from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.errors import UnknownStoreError
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.framing import MessageHeader
from fedshelf.common.errors import NetworkError
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.protocol.probe import PROBE_MESSAGE_TYPE, header_fields, make_presence
from fedshelf.common.protocol.serialization import encode_result
from fedshelf.server.gateway.push_inspection import MIN_ALLOWED_PIECES
from tests.helpers.deployed import PATIENCE, free_port, history, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.provisioned import Quiet


class Spite:
    """A store that says what it holds, and then answers orders to train with the first piece of an
    answer alone.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.over = Event()
        self.refused = list[int]()
        self.foreign = list[bool]()
        self.orders = 0
        self.thread = Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            with FleetConnection(
                Credentials(f"127.0.0.1:{self.port}"), Quiet(), deadline=float("inf")
            ) as line:
                while not self.over.wait(0.1):
                    for head in line.receive():
                        self._answer(line, head)
        except (UnknownStoreError, NetworkError):  # the run is over
            return

    def _answer(self, line: FleetConnection, head: MessageHeader) -> None:
        message, _ = line.fetch(head)
        if head.type == PROBE_MESSAGE_TYPE:
            line.send(line.build_reply(message, make_presence(has=False), 0.0))
        elif header_fields(message.content)["kind"] in ("query", "notice"):
            info = StoreInfo("spite", {"boot": 10**6, "hat": 10**6}, 0, 0)
            line.send(line.build_reply(message, encode_result(info), 0.0))
        else:
            self.orders += 1
            parcel = line.build_reply(
                message, encode_result(Update("spite", 1, torch.ones(9), 9, 0.5, 0.1)), 0.0
            )
            self._forge(line, parcel.announcement)
            self._read(line, head)
            root = parcel.announcement.message_object_trees[0]
            del root.children[:]
            line.send(parcel)

    def _forge(self, line: FleetConnection, honest: PushMessagesRequest) -> None:
        """In the server's name; with more pieces than there is room for."""
        order = PushMessagesRequest()
        endless = PushMessagesRequest()
        for forged in (order, endless):
            forged.CopyFrom(honest)
        order.messages_list[0].metadata.src_node_id = 1
        order.messages_list[0].metadata.dst_node_id = line.node_id
        order.messages_list[0].metadata.reply_to_message_id = ""
        endless.message_object_trees[0].children.extend(
            [ObjectTree(object_id=f"{number:064x}") for number in range(4 * MIN_ALLOWED_PIECES)]
        )
        for forged in (order, endless):
            try:
                line._client.PushMessages(forged)
            except httpx.HTTPStatusError as error:
                self.refused.append(error.response.status_code)

    def _read(self, line: FleetConnection, head: MessageHeader) -> None:
        """Pieces with names that it makes up."""
        for number in range(3):
            request = PullObjectRequest(
                node=Node(node_id=line.node_id), run_id=head.run_id, object_id=f"{number:064x}"
            )
            self.foreign.append(line._client.PullObject(request).object_found)


@pytest.mark.slow(minutes=0.5)
def test_a_store_that_does_its_worst_loses_its_own_part_only(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    port = free_port()
    out = tmp_path / "run"
    classes = ("--classes", "boot,hat,shirt", "--set", "cohort.timeout=60")
    server = command.server(out, port, "--stores", "2", "--rounds", "1000", *classes)
    for name in ("mitte", "ost"):
        command.store(folders[name], port)
    wait_for(lambda: history(out))
    spite = Spite(port)

    def failures() -> set[str]:
        return {
            record["failed"]["spite"]["code"]
            for record in history(out)
            if "spite" in record["failed"]
        }

    wait_for(failures)
    assert failures() == {"invalid"}
    spite.over.set()
    spite.thread.join(PATIENCE)
    server.interrupt()
    assert server.ends() == 130, server.text
    assert all(sorted(record["stores"]) == ["mitte", "ost"] for record in history(out))
    assert spite.orders > 0
    assert set(spite.refused) == {422}
    assert len(spite.refused) == 2 * spite.orders
    assert not any(spite.foreign)
    assert not list(out.parent.glob("*evil*"))
