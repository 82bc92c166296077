"""One connection on the wire: whole answers, and the turns that HTTP/1.1 allows a client."""

import socket
from pathlib import Path

import httpx
import pytest

from tests.helpers.deployed import wait_for
from tests.helpers.services import RunningService, coloured, running_service

RED = coloured(200, 0, 0)
CLASSIFY = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
LENGTH = f"Content-Length: {len(RED)}\r\n".encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def connected(running: RunningService) -> socket.socket:
    address = httpx.URL(running.url)
    return socket.create_connection((address.host, address.port or 0), timeout=60)


def head_and_body(connection: socket.socket) -> tuple[bytes, bytes]:
    """The next answer, which says how long it is."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(4096)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        part = connection.recv(4096)
        assert part, received
        body += part
    return head, body


def test_an_answer_has_all_headers_and_the_connection_stays(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, connected(running) as connection:
        for _ in range(3):
            connection.sendall(CLASSIFY + LENGTH + b"\r\n" + RED)
            head, body = head_and_body(connection)
            assert head.split(b"\r\n") == [
                b"HTTP/1.1 200 OK",
                f"content-length: {len(body)}".encode(),
                b"content-type: application/json",
                b"x-content-type-options: nosniff",
                b"cache-control: no-store",
            ]
            assert b'"class":"red"' in body


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_connection_ends_where_the_client_wants_it(tmp_path: Path, version: bytes) -> None:
    close = b"Connection: close\r\n" if version == b"1.1" else b""
    head = CLASSIFY.replace(b"1.1", version)
    with running_service(tmp_path) as running, connected(running) as connection:
        connection.sendall(head + close + LENGTH + b"\r\n" + RED)
        head, body = head_and_body(connection)
        assert b"200 OK" in head
        assert body.endswith(b"}")
        assert (b"connection: close" in head) == (version == b"1.1")
        assert connection.recv(1) == b""


def test_a_body_may_come_in_parts_and_in_chunks(tmp_path: Path) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (RED[:50], RED[50:]))
    sent = [CLASSIFY[:20], CLASSIFY[20:] + LENGTH + b"\r\n", RED[:50], RED[50:]]
    sent += [CLASSIFY + CHUNKED + b"\r\n", chunks[:70], chunks[70:] + b"0\r\n\r\n"]
    with running_service(tmp_path) as running, connected(running) as connection:
        for count in (4, 3):
            for part in sent[:count]:
                connection.sendall(part)
            del sent[:count]
            assert b"200 OK" in head_and_body(connection)[0]


def test_a_client_that_asks_first_is_told_to_send_its_body(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, connected(running) as connection:
        connection.sendall(CLASSIFY + LENGTH + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(RED)
        assert b"200 OK" in head_and_body(connection)[0]


def test_a_client_that_asks_first_and_has_no_key_need_not_send(tmp_path: Path) -> None:
    with running_service(tmp_path, key="k" * 32) as running, connected(running) as connection:
        connection.sendall(CLASSIFY + LENGTH + b"Expect: 100-continue\r\n\r\n")
        assert b"401 Unauthorized" in head_and_body(connection)[0]


def test_an_answer_to_head_has_no_body(tmp_path: Path) -> None:
    """A refusal, and one to a method that is not the address's."""
    with running_service(tmp_path) as running, running.client() as client:
        assert client.options("/v1/classify").status_code == 405
        for headers, status in (({"host": "evil.example"}, 400), ({}, 405)):
            answer = client.head("/v1/classify", headers=headers)
            assert answer.status_code == status
            assert int(answer.headers["content-length"]) > 0
            assert answer.content == b""
        assert client.get("/v1/model").status_code == 200  # on the same connection


def test_a_request_before_the_answer_to_another_is_refused(tmp_path: Path) -> None:
    request = CLASSIFY + LENGTH + b"\r\n" + RED
    with running_service(tmp_path) as running, connected(running) as connection:
        running.predictor.gate.clear()
        connection.sendall(request + request)
        assert b"400 Bad Request" in head_and_body(connection)[0]
        running.predictor.gate.set()
        wait_for(lambda: running.service.classifier.photos_held == 0)


def test_one_that_leaves_before_its_body_is_whole_is_forgotten(tmp_path: Path) -> None:
    with running_service(tmp_path) as running:
        with connected(running) as connection:
            connection.sendall(CLASSIFY + LENGTH + b"\r\n" + RED[:50])
        with connected(running) as connection:
            connection.sendall(CLASSIFY + LENGTH + b"\r\n" + RED)
            assert b"200 OK" in head_and_body(connection)[0]
        assert running.predictor.batches == [1]
