"""A message that the server announced and stopped sending, as an app does that is killed: the store
goes on.
"""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedResponse,
    PullObjectRequest,
    PullObjectResponse,
)
from google.protobuf.message import Message

from fedshelf.client.connection import fleet as client_fleet
from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.framing import MessageHeader
from fedshelf.common.errors import MessageError
from tests.helpers.provisioned import Quiet

HEAD = MessageHeader("a" * 64, "b" * 64, "train", 1, 60.0, tuple("12345678"))


class Uploading:
    """A server whose app uploads one piece of its message every `pause` seconds, and `last` of them
    in all.
    """

    def __init__(self, pause: float, last: int) -> None:
        began: list[float] = []

        def answer(path: str, body: bytes) -> Message | None:
            match path.rpartition("/")[2]:
                case "activate-node":
                    return fleet.ActivateNodeResponse(node_id=7)
                case "pull-object":
                    began.append(time.monotonic())
                    number = int(PullObjectRequest.FromString(body).object_id)
                    is_there = number <= min(last, (time.monotonic() - began[0]) / pause)
                    return PullObjectResponse(
                        object_found=True, object_available=is_there, object_content=b"x"
                    )
                case "confirm-message-received":
                    return ConfirmMessageReceivedResponse()
            return None

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                found = answer(self.path, self.rfile.read(int(self.headers["content-length"])))
                content = b"" if found is None else found.SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/protobuf")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def uploading(request: pytest.FixtureRequest) -> Iterator[Uploading]:
    found = Uploading(*request.param)
    yield found
    found.close()


@pytest.mark.parametrize(
    ("uploading", "words"),
    [
        ((0.5, 2), "stopped sending it"),  # two of eight pieces come
        # all come, and take longer than the store waits for one; they are no message
        ((0.5, 8), "cannot be read"),
    ],
    indirect=["uploading"],
)
def test_a_message_is_waited_for_as_long_as_pieces_come(
    uploading: Uploading, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_fleet, "STALLED_SECONDS", 3)
    address = f"127.0.0.1:{uploading.server.server_port}"
    with (
        FleetConnection(Credentials(address), Quiet(), deadline=time.monotonic() + 100) as line,
        pytest.raises(MessageError, match=words),
    ):
        line.fetch(HEAD)
