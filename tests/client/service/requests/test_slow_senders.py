"""A head or a body that comes too slowly is refused, at a time that can be reckoned by hand."""

import socket
from pathlib import Path

import httpx
import pytest

from fedshelf.client.service.requests.limits import ServiceLimits
from tests.helpers.services import RunningService, coloured, running_service

RED = coloured(200, 0, 0)
HEAD = (
    f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(RED)}\r\n\r\n".encode()
)
LIMITS = ServiceLimits(body_seconds=1.0, min_bytes_per_second=100.0, stall_seconds=5.0)
FOR_EVER = 1e9


def connected(running: RunningService) -> socket.socket:
    address = httpx.URL(running.url)
    return socket.create_connection((address.host, address.port or 0), timeout=60)


def status(connection: socket.socket) -> int:
    """The status of the next answer, all of which is read."""
    received = b""
    while b"}" not in received:
        part = connection.recv(4096)
        assert part, received
        received += part
    return int(received.split()[1])


@pytest.mark.parametrize(
    ("byte_count", "last_byte", "deadline"),
    [
        (0, 10.0, 11.0),  # a second for the first byte
        (50, 10.2, 11.5),  # and a hundredth of one for each that came
        (300, 13.9, 14.0),
        (1_000_000, 12.0, 17.0),  # however much came, it may stand still for five
    ],
)
def test_a_body_keeps_the_least_rate_from_its_beginning(
    byte_count: int, last_byte: float, deadline: float
) -> None:
    assert LIMITS.body_deadline(10.0, byte_count, last_byte) == pytest.approx(deadline)


def test_the_usual_limits_refuse_a_dribble_within_a_second_and_no_slow_line() -> None:
    """Ten bytes a second, and a modem's 56 kbit/s with a pause of two seconds after 14 kB."""
    limits = ServiceLimits()
    assert limits.head_seconds < 1
    assert limits.body_deadline(0.0, 8, 0.8) < 1
    assert limits.body_deadline(0.0, 14_000, 2.0) > 4


@pytest.mark.parametrize("begun", [b"P", b"\r\n", HEAD[:-2]])
def test_a_head_is_refused_on_a_used_connection_too(tmp_path: Path, begun: bytes) -> None:
    limits = ServiceLimits(idle_seconds=FOR_EVER, head_seconds=0.05, body_seconds=FOR_EVER)
    with running_service(tmp_path, limits) as running:
        for is_used in (False, True):
            with connected(running) as connection:
                if is_used:
                    connection.sendall(HEAD + RED)
                    assert status(connection) == 200
                connection.sendall(begun)
                assert status(connection) == 408


def test_a_body_that_dribbles_is_refused(tmp_path: Path) -> None:
    limits = ServiceLimits(body_seconds=0.05, min_bytes_per_second=1e9, stall_seconds=FOR_EVER)
    with running_service(tmp_path, limits) as running, connected(running) as connection:
        connection.sendall(HEAD + RED[:20])
        assert status(connection) == 408


def test_a_body_whose_rate_allows_it_may_take_longer(tmp_path: Path) -> None:
    limits = ServiceLimits(head_seconds=FOR_EVER, body_seconds=0.0, min_bytes_per_second=1e-9)
    with running_service(tmp_path, limits) as running, connected(running) as connection:
        for part in (HEAD[:30], HEAD[30:] + RED[:20], RED[20:40], RED[40:]):
            connection.sendall(part)
        assert status(connection) == 200


def test_an_answer_that_takes_long_is_no_slow_head(tmp_path: Path) -> None:
    """Some clients send an empty line after a body."""
    limits = ServiceLimits(idle_seconds=0.05, head_seconds=0.05, body_seconds=FOR_EVER)
    with running_service(tmp_path, limits) as running, connected(running) as connection:
        running.predictor.gate.clear()
        connection.sendall(HEAD + RED + b"\r\n")
        with connected(running) as other:  # it is refused after the time that the first one had
            assert status(other) == 408
        running.predictor.gate.set()
        assert status(connection) == 200
