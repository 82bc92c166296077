"""Clients without a key cost next to nothing, however many they are and whatever they send."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.strange_clients import Strangers, allow_files, sockets_of
from fedshelf.client.connection.credentials import new_key
from fedshelf.common.http.bounded_protocol import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES
from fedshelf.common.protocol.enrolment import CLASSES_PATH, REASON_HEADER
from fedshelf.server.credentials.chain import Chain, public_key_text
from fedshelf.server.credentials.stores import EnrolmentState
from fedshelf.server.gateway.bounded_http import MAX_BODY_BYTES
from fedshelf.server.gateway.connections import MAX_UNPROVEN_CONNECTIONS
from tests.helpers.deployed import free_port, history, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.provisioned import PROTOBUF, signed

CALL = "/v1/fleet/push-object"


class Door:
    """A door over TLS with nothing behind it, and a store of its chain."""

    def __init__(self, place: Path) -> None:
        self.chain = Chain.make(place / "server", "localhost", free_port())
        self.key = new_key()
        self.chain.stores.admit("oslo-7", public_key_text(self.key.public_key()))
        files = [str(place / "answered.jsonl"), str(self.chain.directory)]
        command = [
            sys.executable,
            "-m",
            "fedshelf.server.gateway.proxy",
            "127.0.0.1",
            str(self.chain.port),
            str(free_port()),
            *files,
        ]
        self.log = place / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log)

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://localhost:{self.chain.port}",
            verify=self.chain.client_tls(),
            timeout=60,
        )

    def health(self) -> int | None:
        with contextlib.suppress(httpx.TransportError), self.client() as client:
            return client.get("/health").status_code
        return None

    def call(
        self, key: ec.EllipticCurvePrivateKey, **claimed: ec.EllipticCurvePrivateKey
    ) -> httpx.Response:
        """The answer to a call on a connection of its own, signed with `key`, in the name of
        `claimed`.
        """
        with self.client() as client:
            return client.post(
                CALL, content=b"x", headers=PROTOBUF | signed(key, claimed.get("claimed", key))
            )

    def answer_to(self, request: bytes) -> int:
        """The status of a request sent byte for byte, of which no more will come."""
        plain = socket.create_connection(("127.0.0.1", self.chain.port), timeout=60)
        with self.chain.client_tls().wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(request)
            return int(connection.recv(100).split()[1])


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    door = Door(tmp_path_factory.mktemp("strangers"))
    wait_for(lambda: door.health() == 503)
    yield door
    door.process.kill()
    door.process.wait()


def head(*lines: bytes, call: bytes = b"GET /health") -> bytes:
    return b"\r\n".join([call + b" HTTP/1.1", b"host: x", *lines])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (head(*[b"a: b"] * (MAX_HEADERS - 1), b"\r\n"), 503),  # as many as may be
        (head(*[b"a: b"] * MAX_HEADERS, b"\r\n"), 431),
        (head(*[b"a%d: b" % number for number in range(20_000)], b"\r\n"), 431),
        (head(b"a: " + b"b" * MAX_HEAD_BYTES, b"\r\n"), 431),
        (head(b"a: " + b"b" * 2**20), 431),
        (b"\r\n" * MAX_HEAD_BYTES, 431),
        (head(b"\r\n", call=b"GET /" + b"a" * (MAX_URL_BYTES - 1)), 404),
        (head(b"\r\n", call=b"GET /" + b"a" * MAX_URL_BYTES), 414),
        (head(call=b"GET /" + b"a" * 2**20), 414),
        (head(b"transfer-encoding: chunked", b"\r\n", call=b"POST /v1/fleet/push-object"), 411),
        (head(b"connection: upgrade", b"upgrade: websocket", b"\r\n"), 400),
        (head(b"\r\n") * 2000, 400),
        (b"\x00" * 100, 400),
    ],
    ids=[
        "most",
        "headers",
        "20k",
        "bytes",
        "line",
        "empty",
        "url",
        "long",
        "longer",
        "chunks",
        "ws",
        "many",
        "none",
    ],
)
def test_a_request_out_of_bounds_is_refused_before_it_is_looked_at(
    door: Door, request_: bytes, status: int
) -> None:
    assert door.answer_to(request_) == status
    assert door.health() == 503


@pytest.mark.parametrize(
    "call", [b"GET /health", b"POST /v1/fleet/push-object", b"POST /fedshelf/enrol", b"PUT /x"]
)
def test_no_body_of_a_stranger_is_waited_for(door: Door, call: bytes) -> None:
    """Each is answered although nothing of the body comes."""
    answer = {b"GET /health": 503, b"POST /v1/fleet/push-object": 403, b"POST /fedshelf/enrol": 413}
    assert door.answer_to(head(b"content-length: 8000000", b"\r\n", call=call)) == answer.get(
        call, 404
    )


def test_a_stranger_with_a_large_body_still_hears_why(door: Door) -> None:
    with door.client() as client:
        answer = client.post(
            CALL, content=bytes(MAX_BODY_BYTES), headers=PROTOBUF | signed(new_key(), new_key())
        )
    assert (answer.status_code, answer.headers[REASON_HEADER]) == (403, "unknown-key")


def test_the_name_of_a_stores_key_proves_nothing(door: Door) -> None:
    assert door.call(door.key).status_code == 503  # it passed, and nobody is behind
    assert door.call(new_key(), claimed=door.key).status_code == 401
    with door.client() as client:
        assert client.post(CALL, headers=PROTOBUF | signed(door.key, door.key)).status_code == 503
        other = client.post(CALL, headers=PROTOBUF | signed(new_key(), new_key()))
        assert (other.status_code, other.headers[REASON_HEADER]) == (403, "unknown-key")
        late = client.post(CALL, headers=PROTOBUF | signed(door.key, door.key, ahead=60))
        # it is Flower's to refuse: on this connection the key is proven
        assert late.status_code == 503
    with door.client() as client:
        late = client.post(CALL, headers=PROTOBUF | signed(door.key, door.key, ahead=60))
    assert (late.status_code, late.headers[REASON_HEADER]) == (401, "clock")


def test_a_list_of_stores_that_is_damaged_shows_strangers_nothing_and_keeps_its_stores(
    door: Door,
) -> None:
    path = door.chain.stores.path
    whole = path.read_text()
    path.write_text("{")
    with door.client() as client:
        asked = client.post(CLASSES_PATH, json={"store": "oslo-7", "code": "x"})
    assert (asked.status_code, asked.headers[REASON_HEADER]) == (403, "code")
    assert door.call(door.key).status_code == 503
    path.write_text(whole)
    assert door.call(door.key).status_code == 503


def test_a_kit_that_is_used_while_the_list_of_stores_is_damaged_is_taken_once_it_is_mended(
    door: Door,
) -> None:
    key = new_key()
    path = door.chain.stores.path
    door.chain.stores.admit("lyon-2", public_key_text(key.public_key()))
    whole = path.read_text()
    assert door.call(door.key).status_code == 503  # it has seen the list as it is
    path.write_text("{")
    assert door.call(key).status_code == 503
    assert "Until then no kit can be used." in door.log.read_text()
    path.write_text(whole)
    assert door.call(key).status_code == 503  # it passed, and nobody is behind
    assert door.chain.stores.stores()["lyon-2"].state is EnrolmentState.ENROLLED


def test_who_begins_too_many_handshakes_is_turned_away_before_them_and_others_are_not(
    door: Door,
) -> None:
    told = "refused 127.99.0.1: too many TLS handshakes"
    for _ in range(20_000):
        socket.create_connection(("127.0.0.1", door.chain.port), 60, ("127.99.0.1", 0)).close()
        if told in door.log.read_text():
            break
    with socket.create_connection(("127.0.0.1", door.chain.port), 60, ("127.99.0.1", 0)) as refused:
        assert refused.recv(1) == b""  # nothing was said on it yet
    assert door.health() == 503
    assert door.log.read_text().count(told) == 1


def test_a_crowd_of_strangers_has_so_much_room_and_a_store_gets_through(door: Door) -> None:
    allow_files(4096)
    assert door.call(door.key).status_code == 503
    with Strangers(door.chain.port, door.chain.client_tls()) as strangers:
        strangers.silent(MAX_UNPROVEN_CONNECTIONS + 200)
        strangers.half_said(20)
        strangers.hello()
        strangers.many_headers()
        assert door.call(door.key).status_code == 503
        wait_for(lambda: sockets_of(door.process.pid) < MAX_UNPROVEN_CONNECTIONS + 60)
        assert door.call(door.key).status_code == 503
    assert "too many connections on which no store has proven its key" in door.log.read_text()


@pytest.mark.slow(minutes=0.5)
def test_rounds_go_on_beside_two_thousand_slow_strangers_and_200_mb_of_bodies(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    allow_files(8192)
    port = free_port()
    out = tmp_path / "run"
    names = ["mitte", "ost"]
    told = [
        "--host",
        "localhost",
        "--port",
        str(port),
        "--stores",
        ",".join(names),
        "--out",
        tmp_path / "chain",
    ]
    assert command("flower-server", "provision", *told).ends() == 0
    credentials = tmp_path / "chain" / "server"
    quick = [
        "--model",
        "niid-cnn",
        "--set",
        "data.image_size=32",
        "--rounds",
        "1000",
        "--stores",
        "2",
    ]
    quick += ["--classes", "boot,hat,shirt", "--lr", "0.02"]
    server = command(
        "flower-server",
        "start",
        "--credentials",
        credentials,
        "--out",
        out,
        "--live-port",
        "0",
        *quick,
    )
    for name in names:
        kit = tmp_path / "chain" / "kits" / f"{name}.kit"
        command("flower-client", "join", "--kit", kit, "--data", folders[name])
    wait_for(lambda: len(history(out)) >= 2)
    before = len(history(out))
    with Strangers(port, Chain.load(credentials).client_tls()) as strangers:
        strangers.silent(1500)
        strangers.half_said(500)
        strangers.bodies(25, 8_000_000)
        wait_for(lambda: len(history(out)) >= before + 3)
    server.interrupt()
    assert server.ends() == 130
    assert all((set(row["stores"]), row["failed"]) == (set(names), {}) for row in history(out))
    door = (out / "flower" / "door.log").read_text()
    assert "refused 127." in door
    assert "Traceback" not in door
