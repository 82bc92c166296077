"""A machine whose settings name a proxy: joining, enrolling and checking go through it, and a dead
one is named.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from fedshelf.client.connection.credentials import Credentials, new_key
from fedshelf.client.connection.errors import obstacle
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.connection.proxies import ProxyFault, proxy_for
from fedshelf.client.connection.transport import http_client
from fedshelf.client.health.evidence.server_probe import probe_server
from fedshelf.client.identity.enrolment import load_or_enrol
from fedshelf.common.errors import ConfigError, NetworkError
from fedshelf.common.protocol.endpoint import Endpoint
from fedshelf.common.protocol.kit import Kit, chain_id
from tests.helpers.canned_server import Authority, Canned, http
from tests.helpers.deployed import free_port
from tests.helpers.socks_server import HOST_UNREACHABLE, SocksServer

SHOP = "shop.invalid:9092"
Settings = Callable[..., None]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Sets the machine's proxies, and none but those given."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)

    def put(**names: str) -> None:
        for name, value in names.items():
            monkeypatch.setenv(name.upper(), value)

    return put


@pytest.fixture
def socks(request: pytest.FixtureRequest) -> Iterator[tuple[SocksServer, Authority]]:
    """A SOCKS proxy before a server of the chain's at SHOP."""
    place = request.getfixturevalue("tmp_path")
    authority = Authority(place / "a.pem", name="shop.invalid")
    with closing(Canned(http(), authority.context())) as server:
        host, _, port = server.address.partition(":")
        with closing(SocksServer((host, int(port)))) as proxy:
            yield proxy, authority


def test_a_socks_proxy_leads_to_the_server_and_looks_up_its_name(
    socks: tuple[SocksServer, Authority], settings: Settings
) -> None:
    proxy, authority = socks
    known = KnownAddresses((SHOP,), authority.pem)
    for variable in ("https_proxy", "all_proxy"):
        settings(**{variable: f"socks5h://127.0.0.1:{proxy.port}"})
        with http_client(known, 10) as client:
            assert client.get("/health").text == "ok"
    assert probe_server(known).status == 200
    assert proxy.asked == [("shop.invalid", 9092)] * 3


def test_a_proxy_that_refuses_or_is_dead_is_named_and_not_the_server(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path))
    pem = Authority(tmp_path / "a.pem").pem
    kit = Kit(
        chain=chain_id(pem.decode()),
        server=SHOP,
        authority=pem.decode(),
        store="oslo-7",
        code="c" * 30,
    )
    with (
        closing(SocksServer(("127.0.0.1", 1), HOST_UNREACHABLE)) as socks,
        closing(
            Canned(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        ) as locked,
    ):
        dead = free_port()
        for proxy, words in {
            f"socks5://127.0.0.1:{socks.port}": (
                r"does not let this store through to the server \(.*unreachable\)"
            ),
            f"http://me:secret@{locked.address}": "needs a valid user name and password",
            f"socks5://me:secret@127.0.0.1:{dead}": "cannot be reached",
            f"http://127.0.0.1:{dead}": "cannot be reached",
        }.items():
            settings(https_proxy=proxy)
            name = proxy.replace("me:secret@", "")
            line = probe_server(KnownAddresses((SHOP,), pem))
            assert line.trouble == "proxy"
            assert line.why.startswith(f"the proxy {name} ")
            for joining in (
                lambda: load_or_enrol(kit, wait=0),
                lambda: FleetConnection(
                    Credentials(SHOP, pem, new_key()), Nobody(), deadline=0
                ).__enter__(),
            ):
                with pytest.raises(NetworkError, match=f"the proxy {name} {words}") as caught:
                    joining()
                assert "secret" not in str(caught.value)


def test_what_is_no_proxy_is_named(settings: Settings) -> None:
    with closing(Canned(b"220 mail.example\r\n")) as mail:
        settings(http_proxy=f"socks5h://{mail.address}")
        line = probe_server(KnownAddresses((SHOP,)))
    assert line.trouble == "proxy"
    assert line.why.startswith(
        f"the proxy socks5h://{mail.address} does not answer as a proxy does;"
    )


def test_a_socks_proxy_that_takes_connections_and_says_nothing_is_named(
    settings: Settings, tmp_path: Path
) -> None:
    known = KnownAddresses((SHOP,), Authority(tmp_path / "a.pem").pem)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        http_client(known, timeout=0.2) as client,
    ):
        name = f"socks5://127.0.0.1:{silent.getsockname()[1]}"
        settings(https_proxy=name)
        with pytest.raises(ProxyFault, match=f"the proxy {name} does not answer"):
            client.get("/health")


class Nobody:
    """A narrator that is heard by nobody."""

    def on_joined(self) -> None: ...

    def on_lost(self, reason: str) -> None: ...

    def on_restored(self) -> None: ...


@pytest.mark.parametrize(
    ("exceptions", "address", "is_exempt"),
    [
        ("", "shop.example:9092", False),
        ("shop.example", "shop.example:9092", True),
        (".example", "shop.example:9092", True),
        ("shop.example:9092", "shop.example:9092", True),
        ("shop.example:443", "shop.example:9092", False),
        ("other.example, *", "shop.example:9092", False),
        ("*", "shop.example:9092", True),
        ("10.0.0.0/8", "10.1.2.3:9092", True),
        ("10.0.0.0/8", "11.1.2.3:9092", False),
        ("2001:db8::/32", "[2001:db8::7]:9092", True),
        ("", "127.0.0.1:9092", True),
        ("", "localhost:9092", True),
        ("", "[::1]:9092", True),
    ],
)
def test_exceptions(settings: Settings, exceptions: str, address: str, is_exempt: bool) -> None:
    settings(all_proxy="proxy.example:3128", no_proxy=exceptions)
    found = proxy_for(Endpoint.parse(address), "https")
    assert found == (None if is_exempt else httpx.URL("http://proxy.example:3128"))


@pytest.mark.parametrize(
    "told", ["socks4://proxy.example:1080", "socks://proxy.example", "ftp://x", "http://"]
)
def test_a_proxy_that_cannot_be_used_is_one_sentence(settings: Settings, told: str) -> None:
    settings(https_proxy=told)
    with pytest.raises(ConfigError, match=r"cannot be used .* add shop.example to NO_PROXY"):
        proxy_for(Endpoint.parse("shop.example:9092"), "https")


def test_a_fault_of_the_proxy_passes_by_itself(settings: Settings) -> None:
    settings(https_proxy=f"http://127.0.0.1:{free_port()}")
    with http_client(KnownAddresses((SHOP,)), 10) as client, pytest.raises(httpx.ConnectError):
        client.get("/health")  # plain HTTP: HTTPS_PROXY is not for it, and there is no such host
    settings(http_proxy=f"http://127.0.0.1:{free_port()}")
    with http_client(KnownAddresses((SHOP,)), 10) as client, pytest.raises(ProxyFault) as caught:
        client.get("/health")
    assert obstacle(caught.value).startswith("the proxy http://127.0.0.1:")
