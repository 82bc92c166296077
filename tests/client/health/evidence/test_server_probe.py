from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.health.evidence import server_probe as health_line
from fedshelf.client.health.evidence.server_probe import ServerProbe
from tests.helpers.canned_server import Authority, Canned, http
from tests.helpers.deployed import free_port

Serve = Callable[..., Canned]


def probe_server(server: str, authority: bytes | None, proof: bytes | None = None) -> ServerProbe:
    return health_line.probe_server(
        KnownAddresses((server,), authority), (lambda _: proof) if proof else None
    )


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Canned] = []

    def start(answer: bytes, authority: Authority | None = None) -> Canned:
        started.append(Canned(answer, authority.context() if authority else None))
        return started[-1]

    yield start
    for server in started:
        server.close()


def test_a_good_server_over_tls(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a.pem", days=100)
    server = serve(http(), authority)
    line = probe_server(server.address, authority.pem)
    assert (line.trouble, line.status) == ("", 200)
    assert line.ends is not None
    assert timedelta(days=99) < line.ends - datetime.now(UTC) < timedelta(days=101)
    assert line.skew is not None
    assert abs(line.skew) < 5


def test_nothing_but_one_plain_question_is_sent(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a.pem")
    for server, pem in ((serve(http(), authority), authority.pem), (serve(http()), None)):
        probe_server(server.address, pem)
        head, *headers = b"".join(server.heard).decode().removesuffix("\r\n\r\n").split("\r\n")
        assert head == "GET /health HTTP/1.1"
        assert sorted(map(str.lower, headers)) == [
            "accept-encoding: identity",
            f"host: {server.address}",
        ]


@pytest.mark.parametrize("ahead", [-7200.0, 45.0, 90000.0])
def test_the_clocks(serve: Serve, ahead: float) -> None:
    skew = probe_server(serve(http(ahead=ahead)).address, None).skew
    assert skew == pytest.approx(ahead, abs=5)


@pytest.mark.parametrize(
    "date", ["", "Date: yesterday\r\n", "Date: Sun, 99 Nov 9999 77:00:00 GMT\r\n"]
)
def test_a_date_that_is_none_tells_nothing(serve: Serve, date: str) -> None:
    line = probe_server(
        serve(f"HTTP/1.1 200 OK\r\n{date}Content-Length: 0\r\n\r\n".encode()).address, None
    )
    assert (line.trouble, line.status, line.skew) == ("", 200, None)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"starts": -20, "days": -1}, "it has expired, or this machine's clock is ahead"),
        ({"starts": 5}, "it is not valid yet, or this machine's clock is behind"),
    ],
)
def test_bad_certificates(serve: Serve, tmp_path: Path, made: dict[str, float], why: str) -> None:
    authority = Authority(tmp_path / "a.pem", **made)  # type: ignore[arg-type]
    line = probe_server(serve(http(), authority).address, authority.pem)
    assert (line.trouble, line.why) == ("certificate", why)


def test_the_certificate_of_the_chain_for_another_address(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a.pem", address="192.0.2.1")
    server = serve(http(), authority)
    line = probe_server(server.address, authority.pem)
    assert (line.trouble, line.why) == ("name", "it was made for another address")
    assert server.heard == []


def test_the_certificate_of_another_chain(serve: Serve, tmp_path: Path) -> None:
    server = serve(http(), Authority(tmp_path / "a.pem"))
    line = probe_server(server.address, Authority(tmp_path / "b.pem").pem)
    assert line.trouble == "certificate"
    assert server.heard == []  # refused before anything was asked


def test_who_does_not_speak_our_language(serve: Serve, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a.pem")
    assert (
        probe_server(serve(b"220 mail.example ESMTP\r\n\r\n").address, None).trouble == "protocol"
    )
    assert (
        probe_server(serve(b"220 mail.example ESMTP\r\n\r\n").address, authority.pem).trouble
        == "protocol"
    )
    assert probe_server(serve(http(), authority).address, None).trouble == "protocol"


def test_nobody_is_there() -> None:
    assert probe_server(f"127.0.0.1:{free_port()}", None).trouble == "unreachable"
    assert probe_server("no-such-host.invalid:443", None).trouble == "unreachable"


@pytest.mark.parametrize(
    ("body", "classes", "merges"),
    [
        ('{"classes": ["Röcke", "hat"], "merge_spellings": true}', ("Röcke", "hat"), True),
        ('{"classes": ["hat"]}', ("hat",), False),
        ('{"classes": "hat"}', None, False),
        ('["hat"]', None, False),
        ("[" * 100_000, None, False),
    ],
)
def test_what_the_door_tells_of_classes(
    body: str, classes: tuple[str, ...] | None, merges: bool
) -> None:
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode()
    with closing(Canned(http(), second=answer)) as server:
        line = probe_server(server.address, None, b"{}")
    assert (line.status, line.classes, line.merges) == (200, classes, merges)
