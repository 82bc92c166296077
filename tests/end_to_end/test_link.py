"""The link that tests put between stores and server does what it says."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.helpers.deployed import wait_for
from tests.helpers.link import Link


class Echo(BaseHTTPRequestHandler):
    """Answers a POST with its body."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_POST(self) -> None:
        Echo.asked += 1
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def link() -> Iterator[Link]:
    Echo.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Link(server.server_port) as link:
            yield link
        server.shutdown()


def post(link: Link, body: bytes = b"hello", timeout: float = 30.0) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", link.port, timeout=timeout)
    try:
        connection.request("POST", "/v1/echo", body)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_bytes_pass_and_are_counted(link: Link) -> None:
    body = bytes(range(256)) * 1000
    assert post(link, body) == body
    assert (link.asked["echo"], link.up > len(body), link.down > len(body)) == (1, True, True)


def test_a_slow_link_takes_its_time(link: Link) -> None:
    link.throttle(up=8 * 100_000, down=8 * 100_000)
    began = time.monotonic()
    assert len(post(link, bytes(50_000))) == 50_000
    # half a second up, half a second down, not counting the last piece
    assert time.monotonic() - began >= 0.9


def test_a_cut_link_refuses_until_it_is_mended(link: Link) -> None:
    open_already = socket.create_connection(("127.0.0.1", link.port))
    open_already.sendall(b"POST")
    wait_for(lambda: link.up == 4)
    link.cut()
    with pytest.raises(ConnectionResetError):
        open_already.recv(1)
    open_already.close()
    with pytest.raises(ConnectionRefusedError):
        post(link)
    link.mend()
    assert post(link) == b"hello"


def test_a_silent_link_delivers_late(link: Link) -> None:
    link.silence()
    with pytest.raises(TimeoutError):
        post(link, timeout=0.2)
    assert Echo.asked == 0
    link.mend()
    wait_for(lambda: Echo.asked == 1)  # a request whose sender has long gone
    assert post(link) == b"hello"


def test_answers_are_lost_after_the_work_was_done(link: Link) -> None:
    link.lose_answers(every=2)
    outcomes = []
    for _ in range(4):
        try:
            outcomes.append(post(link))
        except (ConnectionResetError, http.client.RemoteDisconnected):
            outcomes.append(b"lost")
    assert outcomes[0] == b"lost"
    assert sorted(outcomes[:2]) == sorted(outcomes[2:]) == [b"hello", b"lost"]
    assert (Echo.asked, link.lost["echo"]) == (4, 2)
