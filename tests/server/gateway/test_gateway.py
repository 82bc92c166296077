"""The door passes what stores need and nothing else, whatever a request is made to look like."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.health.evidence.server_probe import probe_server
from fedshelf.common.protocol.enrolment import WANTED_PATH
from fedshelf.common.system.files import write_text
from fedshelf.server.credentials.authority import (
    RENEWAL_TIME,
    Authority,
    certificate_text,
    load_key,
    renew_if_due,
)
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.gateway.bounded_http import MAX_BODY_BYTES
from fedshelf.server.ipc.run_mailbox import WITHDRAWN
from fedshelf.server.ipc.withdrawals import Withdrawals
from tests.helpers.deployed import free_port, wait_for


class SuperLink:
    """Stands behind the door and writes down what comes through. It can be away."""

    def __init__(self) -> None:
        self.port = free_port()
        self.seen = list[tuple[str, str, bytes]]()
        self._server: ThreadingHTTPServer | None = None

    def come(self) -> None:
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen.append((self.command, self.path, body))
                self.send_response(202)
                self.send_header("flwr-signature", self.headers.get("flwr-signature", ""))
                self.send_header("got", ",".join(sorted(name.lower() for name in self.headers)))
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = do_POST  # noqa: N815

            def log_message(self, format: str, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def go(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture(scope="module")
def link() -> Iterator[SuperLink]:
    link = SuperLink()
    link.come()
    yield link
    link.go()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which door and app talk."""
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def door(link: SuperLink, place: Path) -> Iterator[int]:
    port = free_port()
    answered = place / "answered.jsonl"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "fedshelf.server.gateway.proxy",
            "127.0.0.1",
            str(port),
            str(link.port),
            answered,
        ]
    )

    def is_open() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        return False

    wait_for(is_open)
    yield port
    process.terminate()
    assert process.wait(10) in (0, -15)


@pytest.fixture(autouse=True)
def _forget(link: SuperLink, door: int) -> None:
    assert door
    link.seen.clear()


def status_of(door: int, request: bytes) -> int:
    """The status of a request sent byte for byte: a client library would tidy it up first."""
    with socket.create_connection(("127.0.0.1", door), timeout=10) as connection:
        connection.sendall(request)
        return int(connection.recv(100).split()[1])


def test_a_store_gets_through_with_all_it_sends(link: SuperLink, door: int) -> None:
    body = bytes(range(256)) * 1000
    headers = {
        "flwr-signature": "abc",
        "accept": "a/b",
        "content-type": "c/d",
        "x-other": "e",
        "cookie": "f=g",
    }
    answer = httpx.post(
        f"http://127.0.0.1:{door}/v1/fleet/push-object", content=body, headers=headers
    )
    assert (answer.status_code, answer.content, answer.headers["flwr-signature"]) == (
        202,
        body,
        "abc",
    )
    # of the door as a client
    own = {"host", "connection", "user-agent", "accept-encoding", "content-length"}
    assert set(answer.headers["got"].split(",")) == own | {
        "flwr-signature",
        "accept",
        "content-type",
    }
    assert link.seen == [("POST", "/v1/fleet/push-object", body)]


def test_the_classes_are_told_once_they_are_known(link: SuperLink, door: int, place: Path) -> None:
    address = f"http://127.0.0.1:{door}/fedshelf/classes"
    assert httpx.post(address, content=b"{}").status_code == 404
    write_text(place / "classes.json", '{"classes": ["Röcke", "hat"]}')
    assert httpx.post(address, content=b"{}").json() == {"classes": ["Röcke", "hat"]}
    assert probe_server(KnownAddresses((f"127.0.0.1:{door}",)), lambda _: b"{}").classes == (
        "Röcke",
        "hat",
    )
    assert httpx.get(address).status_code == 404
    assert httpx.post(f"{address}?x", content=b"{}").status_code == 404
    assert httpx.post(address, content=b"x" * 20_000).status_code == 413
    assert [seen for seen in link.seen if seen[1] != "/health"] == []


@pytest.mark.parametrize(
    "target",
    [
        "/", "/docs", "/openapi.json", "/v1/control/start-run", "/v1/control/list-runs",
        "/v1/runtime/acquire-task", "/v1/fleet", "/v1/fleet/", "/v1/fleet/unheard-of",
        "//v1/fleet/pull-messages", "/v1//fleet/pull-messages", "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run", "/v1/fleet/..%2fcontrol/start-run",
        "/v1/fleet/pull-messages/../../control/start-run",
        "/v1/fleet/pull-messages;/../../control/start-run", "/V1/FLEET/pull-messages",
        "/v1/fleet/Pull-Messages", "/v1/fleet/pull%2dmessages", "/v1/fleet/pull-messages/",
        "/v1/fleet/pull-messages?x=/v1/control", "/./v1/fleet/pull-messages",
        "/v1/fleet\\..\\control", "/v1/fleet/pull-messages%00", "/%76%31/fleet/pull-messages",
        "/health/../v1/control/start-run", "/health/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_nothing_else_gets_through(link: SuperLink, door: int, method: str, target: str) -> None:
    request = f"{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode()
    assert status_of(door, request) in (400, 404)
    assert link.seen == []


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE", "CONNECT"]
)
def test_fleet_calls_are_posts(link: SuperLink, door: int, method: str) -> None:
    request = f"{method} /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    assert status_of(door, request) in (400, 404, 405)
    assert link.seen == []


def test_a_request_hidden_in_another_does_not_get_through(link: SuperLink, door: int) -> None:
    """Length and chunks that contradict each other: what follows is no second request for the
    SuperLink.
    """
    inner = b"POST /v1/control/start-run HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    head = (
        b"POST /v1/fleet/pull-messages HTTP/1.1\r\nhost: x\r\ncontent-length:"
        b" 4\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    status_of(door, head + b"0\r\n\r\n" + inner)
    assert {path for _, path, _ in link.seen} <= {"/v1/fleet/pull-messages"}


def test_a_body_that_is_too_large_is_refused(link: SuperLink, door: int) -> None:
    answer = httpx.post(
        f"http://127.0.0.1:{door}/v1/fleet/push-object", content=bytes(MAX_BODY_BYTES + 1)
    )
    assert answer.status_code == 413
    assert link.seen == []


def test_the_door_outlives_the_superlink(link: SuperLink, door: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{door}") as client:
        assert client.post("/v1/fleet/get-run").status_code == 202
        link.go()
        assert client.post("/v1/fleet/get-run").status_code == 503
        link.come()
        assert client.post("/v1/fleet/get-run").status_code == 202


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain.make(tmp_path / "server", "localhost", free_port())


@pytest.fixture
def tls_door(chain: Chain, tmp_path: Path) -> Iterator[int]:
    """A door over TLS, with nothing behind it."""
    files = [str(tmp_path / "answered.jsonl"), str(chain.directory)]
    command = [
        sys.executable,
        "-m",
        "fedshelf.server.gateway.proxy",
        "127.0.0.1",
        str(chain.port),
        str(free_port()),
        *files,
    ]
    process = subprocess.Popen(command)
    wait_for(lambda: health(chain) == 503)
    yield chain.port
    process.terminate()
    assert process.wait(10) in (0, -15)


def health(chain: Chain) -> int | None:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(
            f"https://localhost:{chain.port}/health", verify=chain.client_tls()
        ).status_code
    return None


def served_certificate(chain: Chain) -> bytes | None:
    connection = socket.create_connection(("127.0.0.1", chain.port))
    with chain.client_tls().wrap_socket(connection, server_hostname="localhost") as tls:
        return tls.getpeercert(binary_form=True)


def test_a_renewed_certificate_is_served_without_a_restart(chain: Chain, tls_door: int) -> None:
    assert tls_door == chain.port
    before = served_certificate(chain)
    key = load_key((chain.directory / "server.key").read_text())
    soon = Authority.load(chain.directory).issue(
        ("localhost",), key, RENEWAL_TIME - timedelta(days=1)
    )
    write_text(chain.directory / "server.crt", certificate_text(soon))
    assert renew_if_due(chain.directory, chain.hosts)
    renewed = ssl.PEM_cert_to_DER_cert((chain.directory / "server.crt").read_text())
    wait_for(lambda: served_certificate(chain) == renewed)
    assert renewed != before


def test_clients_that_connect_and_say_nothing_keep_nobody_out(chain: Chain, tls_door: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", tls_door)) for _ in range(100)]
    assert health(chain) == 503
    for connection in silent:
        connection.close()
    assert health(chain) == 503


def test_it_says_whether_an_answer_is_still_waited_for(
    link: SuperLink, door: int, place: Path
) -> None:
    """The app writes down what it has given up; the SuperLink is not asked."""
    given_up = "a" * 64
    waited_for = "b" * 64
    Withdrawals(place / WITHDRAWN).add([given_up])

    def asked(order: str, method: str = "POST") -> int:
        question = ConfirmMessageReceivedRequest(message_object_id=order).SerializeToString()
        return httpx.request(
            method, f"http://127.0.0.1:{door}{WANTED_PATH}", content=question
        ).status_code

    assert [asked(given_up), asked(waited_for), asked("x" * 2000)] == [410, 200, 413]
    assert asked(given_up, "PUT") == 404
    assert link.seen == []
