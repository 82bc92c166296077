"""Addresses at which stores find their server: several, a move, and what is refused."""

import socket
import ssl
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from fedshelf.client.connection.errors import obstacle
from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.connection.transport import http_client
from fedshelf.client.identity.enrolment import addresses_of
from fedshelf.common.errors import ConfigError, NetworkError
from fedshelf.common.protocol.address_list import AddressList
from fedshelf.common.protocol.endpoint import Endpoint
from fedshelf.common.protocol.kit import Kit
from fedshelf.server.addresses import Address, check_free, listening_socket
from fedshelf.server.credentials import commands
from fedshelf.server.credentials.chain import Chain
from tests.helpers.canned_server import Authority, Canned, http
from tests.helpers.deployed import free_port

ALL = "shop.example, 192.0.2.7,2001:db8::7"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))


def names_of(chain: Chain) -> set[str]:
    """All that the server's certificate is for."""
    decoded = ssl._ssl._test_decode_cert(str(chain.directory / "server.crt"))  # type: ignore[attr-defined]
    return {value for _, value in decoded["subjectAltName"]}


def test_a_server_has_several_addresses_in_its_certificate_and_kits(tmp_path: Path) -> None:
    commands.provision(tmp_path, ALL, None, "oslo-7", keys_in_kits=False)
    chain = Chain.load(tmp_path / "server")
    assert names_of(chain) >= {"shop.example", "192.0.2.7", "2001:DB8:0:0:0:0:0:7", "localhost"}
    kit = Kit.read(chain.kit_path("oslo-7"))
    assert kit.addresses == ("shop.example:9092", "192.0.2.7:9092", "[2001:db8::7]:9092")
    assert addresses_of(kit).all == kit.addresses
    commands.provision(tmp_path, ALL, None, "lyon-2", keys_in_kits=False)
    with pytest.raises(
        ConfigError,
        match=r"is for the server shop.example:9092, 192.*; got shop.example:9092\. .*move",
    ):
        commands.provision(tmp_path, "shop.example", None, "rome", keys_in_kits=False)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "shop.example,0.0.0.0", "[2001:db8::7]", "shop.example:9092", ""]
)
def test_hosts_that_no_store_could_call_are_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^--host got .* expected the host name or IP address by which"
    ):
        commands.provision(tmp_path / "new", host, None, "oslo-7", keys_in_kits=False)
    assert not (tmp_path / "new").exists()


def test_a_move_that_was_interrupted_can_be_asked_for_again(tmp_path: Path) -> None:
    chain = Chain.make(tmp_path / "chain" / "server", "shop.example", 9092)
    chain.address_list.mkdir()
    with pytest.raises(OSError, match="addresses"):
        commands.move(chain.directory, "new.example:9092")
    chain.address_list.rmdir()
    commands.move(chain.directory, "new.example:9092")
    told = AddressList.read(chain.address_list.read_text(), chain.authority)
    assert (told.number, told.addresses) == (1, ("new.example:9092",))


def test_a_store_takes_up_a_move_that_its_chain_has_signed(tmp_path: Path) -> None:
    chain = Chain.make(tmp_path / "chain" / "server", "shop.example", 9092)
    kit = Kit.read(chain.write_kit("oslo-7"))
    known = addresses_of(kit)
    file = tmp_path / "state" / "stores" / "oslo-7" / "addresses"
    commands.move(chain.directory, "new.example:9443,192.0.2.7:9092")
    moved = Chain.load(chain.directory)
    assert names_of(moved) >= {
        "new.example",
        "192.0.2.7",
        "shop.example",
    }, "old and new address answer for a while"
    first = moved.address_list.read_text()
    known.keep_signed_list(first)
    assert known.all == ("new.example:9443", "192.0.2.7:9092", "shop.example:9092")
    assert addresses_of(kit).all == known.all, "also after a restart"
    assert Kit.read(moved.write_kit("lyon-2")).addresses == ("new.example:9443", "192.0.2.7:9092")
    commands.move(chain.directory, "third.example:9092")
    known.keep_signed_list(moved.address_list.read_text())
    known.keep_signed_list(first)  # an old one again
    assert known.all == ("third.example:9092", "shop.example:9092")
    commands.move(chain.directory, "fourth.example:9092")
    kept = file.rename(tmp_path / "kept")
    file.mkdir()
    known.keep_signed_list(moved.address_list.read_text())
    assert known.all == (
        "fourth.example:9092",
        "shop.example:9092",
    ), "also where it cannot be written down"
    file.rmdir()
    file.write_text(kept.read_text()[:-8])
    assert addresses_of(kit).all == kit.addresses
    with pytest.raises(ConfigError, match=r"is at fourth\.example:9092 already"):
        commands.move(chain.directory, "fourth.example:9092")


def test_lists_that_the_chain_has_not_signed_are_not_taken_up(tmp_path: Path) -> None:
    chain = Chain.make(tmp_path / "chain" / "server", "shop.example", 9092)
    other = Chain.make(tmp_path / "other" / "server", "shop.example", 9092).move(
        (Endpoint("evil.example", 1),)
    )
    moved = chain.move((Endpoint("new.example", 9092),))
    kit = Kit.read(chain.write_kit("oslo-7"))
    right = AddressList.read(moved.address_list.read_text(), chain.authority)
    forged = AddressList.read(other.address_list.read_text(), other.authority)
    for told in (
        forged.header,
        forged.model_copy(update={"chain": chain.name}).header,
        right.model_copy(update={"addresses": ("evil.example:1",)}).header,
        right.model_copy(update={"number": 7}).header,
        right.model_copy(update={"signature": ""}).header,
        right.header[:-20],
        "",
        "x" * 9000,
    ):
        known = addresses_of(kit)
        known.keep_signed_list(told)
        assert known.all == kit.addresses
    assert not (tmp_path / "state" / "stores" / "oslo-7" / "addresses").exists()


def test_addresses_are_tried_in_turn_and_the_one_that_answers_is_kept(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "a.pem")
    others = Authority(tmp_path / "b.pem")
    dead = f"127.0.0.1:{free_port()}"
    with (
        closing(Canned(http(), others.context())) as stranger,
        closing(Canned(http(), authority.context())) as server,
    ):
        known = KnownAddresses((dead, stranger.address, server.address), authority.pem)
        with http_client(known, 10) as client:
            assert client.get("/health").text == "ok"
        assert (known.last_answering, known.all[0]) == (server.address, dead)
        assert stranger.heard == []
        assert f"host: {server.address}" in server.heard[0].decode().lower()
    with http_client(known, 10) as client, pytest.raises(httpx.ConnectError, match="refused"):
        client.get("/health")


def test_a_person_may_say_where_the_server_is_and_its_certificate_need_not_name_that(
    tmp_path: Path,
) -> None:
    elsewhere = Authority(tmp_path / "a.pem", address="192.0.2.7")
    other = Authority(tmp_path / "b.pem")
    with closing(Canned(http(), elsewhere.context())) as server:
        with http_client(KnownAddresses((server.address,), elsewhere.pem), 10) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                client.get("/health")
            assert obstacle(caught.value).startswith(
                "its certificate is for other host names than the one"
            )
        with http_client(
            KnownAddresses((server.address,), elsewhere.pem, checks_names=False), 10
        ) as client:
            assert client.get("/health").text == "ok"
        with http_client(
            KnownAddresses((server.address,), other.pem, checks_names=False), 10
        ) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                client.get("/health")
            assert obstacle(caught.value).startswith("another server answers there")


def test_ipv6_numbers_stand_in_brackets_and_are_listened_at() -> None:
    assert str(Endpoint.parse("[::1]:9092")) == str(Address("::1", 9092)) == "[::1]:9092"
    with pytest.raises(ConfigError, match=r"in brackets before its port: \[2001:db8::7\]:9092\.$"):
        Endpoint.parse("2001:db8::7:9092")
    with listening_socket(Address("::1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NetworkError, match=r"\(Address already in use\); stop what uses it or"):
            check_free(Address("::1", port))
    with pytest.raises(NetworkError, match="--host has to be an address of this machine"):
        check_free(Address("2001:db8::7", 9092))
    with pytest.raises(NetworkError, match="--host has to be an address of this machine"):
        check_free(Address("no-such-host.invalid", 9092))


def test_answers_do_not_wait_for_their_heads_to_be_confirmed() -> None:
    """Connections have what the listening socket has (Linux): no Nagle's algorithm."""
    with listening_socket(Address("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
