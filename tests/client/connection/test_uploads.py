"""Answers that nobody waits for any more are not sent on, and people see how far long transfers
are.
"""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from flwr.proto import fleet_pb2 as fleet
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    Message,
    Metadata,
    PushObjectResponse,
)

from fedshelf.client.connection import uploads
from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.errors import RunOverError
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.framing import OutgoingMessage
from fedshelf.client.connection.uploads import LARGE_PIECE_BYTES
from fedshelf.common.protocol.transfer_progress import (
    LINE_INTERVAL_SECONDS,
    TransferProgress,
    format_progress,
)
from tests.helpers.provisioned import Quiet

ORDER = "0" * 64
PIECES = {str(number): bytes(LARGE_PIECE_BYTES) for number in range(4)}
HEAD = fleet.PushMessagesRequest(
    messages_list=[Message(metadata=Metadata(run_id=5, reply_to_message_id=ORDER))]
)
PARCEL = OutgoingMessage(HEAD, PIECES, "content")


class Receiving:
    """A server that takes pieces, is away once before the piece numbered `away`, and answers with
    `wanted` to a store that asks whether it still waits.
    """

    def __init__(self, away: int, wanted: int) -> None:
        self.taken = 0
        self.asked = list[str]()
        self._is_away = False
        receiving = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status, content = receiving.answer(self.path, body, away, wanted)
                self.send_response(status)
                self.send_header("content-type", "application/protobuf")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str, body: bytes, away: int, wanted: int) -> tuple[int, bytes]:
        match path.rpartition("/")[2]:
            case "activate-node":
                return 200, fleet.ActivateNodeResponse(node_id=7).SerializeToString()
            case "push-messages":
                return (
                    200,
                    fleet.PushMessagesResponse(
                        session_id="s", objects_to_push=PIECES
                    ).SerializeToString(),
                )
            case "push-object":
                if self.taken == away and not self._is_away:
                    self._is_away = True
                    return 503, b""
                self.taken += 1
                return 200, PushObjectResponse(stored=True).SerializeToString()
            case "wanted":
                self.asked.append(ConfirmMessageReceivedRequest.FromString(body).message_object_id)
                return wanted, b""
        return 200, b""


@pytest.fixture
def receiving(request: pytest.FixtureRequest) -> Iterator[Receiving]:
    found = Receiving(*request.param)
    yield found
    found.server.shutdown()
    found.server.server_close()


def line_to(receiving: Receiving) -> FleetConnection:
    address = f"127.0.0.1:{receiving.server.server_port}"
    return FleetConnection(Credentials(address), Quiet(), deadline=time.monotonic() + 60)


@pytest.mark.parametrize("receiving", [(1, 410)], indirect=True)
def test_after_the_server_was_away_an_answer_that_is_not_wanted_is_sent_no_further(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "STILL_WANTED_AFTER_SECONDS", 1e9)
    with line_to(receiving) as line, pytest.raises(RunOverError):
        line.send(PARCEL)
    # the piece that was on its way is sent to its end
    assert (receiving.asked, receiving.taken) == ([ORDER], 2)


@pytest.mark.parametrize("receiving", [(1, 200), (1, 404)], indirect=True)
def test_what_is_wanted_is_sent_to_its_end_and_asked_for_once(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not know the question wants everything."""
    monkeypatch.setattr(uploads, "STILL_WANTED_AFTER_SECONDS", 1e9)
    with line_to(receiving) as line:
        line.send(PARCEL)
    assert (receiving.asked, receiving.taken) == ([ORDER], len(PIECES))


@pytest.mark.parametrize("receiving", [(99, 410)], indirect=True)
def test_on_a_slow_link_it_is_asked_in_between(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "STILL_WANTED_AFTER_SECONDS", -1.0)
    with line_to(receiving) as line, pytest.raises(RunOverError):
        line.send(PARCEL)
    assert (receiving.asked, receiving.taken) == ([ORDER], 0)


@pytest.mark.parametrize("receiving", [(99, 200)], indirect=True)
def test_a_store_that_knows_better_does_not_ask(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer order has come, or the time of this one is up."""
    monkeypatch.setattr(uploads, "STILL_WANTED_AFTER_SECONDS", 1e9)
    with line_to(receiving) as line, pytest.raises(RunOverError):
        line.send(PARCEL, lambda: receiving.taken < 2)
    assert (receiving.asked, receiving.taken) == ([], 2)


def test_long_transfers_are_told_of_now_and_then_and_quick_ones_never() -> None:
    told = list[str]()
    clock = [0.0]
    transfer = TransferProgress("Sending the answer", 45_000_000, told.append, lambda: clock[0])
    for seconds in range(1, 46):
        clock[0] = float(seconds)
        transfer.add(1_000_000)
    assert told[0] == "Sending the answer: 10 of 45 MB, 1 MB/s, 35 s left."
    assert len(told) == 45 // LINE_INTERVAL_SECONDS  # none of the last piece: what follows tells
    quick = TransferProgress("Receiving a message", 0, told.append, lambda: clock[0])
    quick.add(99)
    assert len(told) == 4


@pytest.mark.parametrize(
    ("done", "total", "seconds", "told"),
    [
        (21e6, 45e6, 20.0, "21 of 45 MB, 1.05 MB/s, 23 s left"),
        (45e6, 45e6, 20.0, "45 of 45 MB, 2.25 MB/s"),
        (1e6, 0, 8.0, "1 MB, 0.125 MB/s"),
        (1e6, 721e6, 8.0, "1 of 721 MB, 0.125 MB/s, 1 h 36 min left"),
        (10e6, 75e6, 10.0, "10 of 75 MB, 1 MB/s, 1 min 5 s left"),
        (0, 10e6, 0.0, "0 of 10 MB, 0 MB/s"),
    ],
)
def test_bytes_rate_and_end_are_told(done: float, total: float, seconds: float, told: str) -> None:
    assert format_progress(int(done), int(total), seconds) == told
