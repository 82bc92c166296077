"""The office key: made with the chain, moved off the server, and needed to certify stores."""

import json
import shutil
import stat
from pathlib import Path

import pytest

from fedshelf.client.identity.enrolment import load_or_enrol
from fedshelf.client.identity.home import store_home
from fedshelf.client.identity.peer import RevokedPeers, load_peer
from fedshelf.common.errors import ConfigError
from fedshelf.common.privacy.peers import (
    PeerCertificate,
    RevocationList,
    new_private_key,
    peer_statement,
    public_half,
    sign,
)
from fedshelf.common.protocol.kit import Kit
from fedshelf.server.credentials import commands
from fedshelf.server.credentials.authority import Authority
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.main import app
from tests.helpers.commands import call


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    provision(tmp_path / "chain", "oslo-7,lyon-2")
    return tmp_path / "chain"


def provision(place: Path, stores: str, office: Path | None = None) -> None:
    is_new = not place.exists()
    commands.provision(
        place,
        "shop.example" if is_new else None,
        None,
        stores,
        keys_in_kits=True,
        office=office,
    )


def kit_of(place: Path, store: str) -> Kit:
    return Kit.read(place / "kits" / f"{store}.kit")


def moved_away(place: Path) -> Path:
    return Path(shutil.move(place / "office", place.parent / "stick"))


def revocations(place: Path) -> RevocationList:
    return RevocationList.model_validate_json((place / "server" / "revoked-peers.json").read_text())


def test_provision_says_what_must_leave_the_server(tmp_path: Path) -> None:
    arguments = ["provision", "--host", "shop.example", "--stores", "oslo-7", "--out"]
    result = call(app, *arguments, str(tmp_path / "chain"))
    assert "Move" in result.stdout
    assert "off the server" in result.stdout
    assert str(tmp_path / "chain" / "office") in result.stdout
    assert stat.S_IMODE((tmp_path / "chain" / "office").stat().st_mode) == 0o700
    for file in ("office.key", "office.json"):
        assert stat.S_IMODE((tmp_path / "chain" / "office" / file).stat().st_mode) == 0o600


def test_each_kit_has_a_peer_key_of_its_own_that_the_office_certified(place: Path) -> None:
    oslo = kit_of(place, "oslo-7").peer
    lyon = kit_of(place, "lyon-2").peer
    chain = Chain.load(place / "server")
    assert oslo is not None
    assert lyon is not None
    assert oslo.office == lyon.office == chain.office_key
    assert oslo.certificate.key != lyon.certificate.key
    assert (oslo.certificate.chain, oslo.certificate.store) == (chain.name, "oslo-7")


def test_a_kit_with_the_peer_key_of_another_store_is_refused(place: Path) -> None:
    path = place / "kits" / "oslo-7.kit"
    content = json.loads(path.read_text())
    content["peer"] = json.loads((place / "kits" / "lyon-2.kit").read_text())["peer"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="its peer certificate is of another store"):
        Kit.read(path)


def test_a_store_keeps_its_peer_key_in_its_home_until_a_new_kit_has_one(place: Path) -> None:
    home = store_home("oslo-7")
    first = kit_of(place, "oslo-7")
    load_or_enrol(first, wait=0)
    assert load_peer(home) == first.peer
    assert stat.S_IMODE((home / "peer.json").stat().st_mode) == 0o600
    stick = moved_away(place)
    renew(place)
    without = kit_of(place, "oslo-7")
    assert without.peer is None
    load_or_enrol(without, wait=0)
    assert load_peer(home) == first.peer
    renew(place, office=stick)
    second = kit_of(place, "oslo-7")
    load_or_enrol(second, wait=0)
    assert load_peer(home) == second.peer != first.peer
    (home / "peer.json").chmod(0o644)
    with pytest.raises(ConfigError, match="mode 644, expected 600"):
        load_peer(home)
    (home / "peer.json").chmod(0o600)
    (home / "peer.json").write_text("{}")
    with pytest.raises(ConfigError, match="is damaged; ask for a new kit"):
        load_peer(home)


def renew(place: Path, *, office: Path | None = None, at_once: bool = False) -> None:
    commands.renew(
        place / "server", ["oslo-7"], keys_in_kits=True, ends_old_key=at_once, office=office
    )


def test_stores_are_added_with_the_office_key_only(place: Path) -> None:
    stick = moved_away(place)
    with pytest.raises(ConfigError, match=r"office key is not in .*; .* --office"):
        provision(place, "rome-1")
    assert not (place / "kits" / "rome-1.kit").exists()
    provision(place, "oslo-7")  # a store that has a kit needs none
    provision(place, "rome-1", stick)
    peer = kit_of(place, "rome-1").peer
    assert peer is not None
    assert peer.office == Chain.load(place / "server").office_key


def test_an_office_of_another_chain_certifies_nobody(place: Path, tmp_path: Path) -> None:
    provision(tmp_path / "other", "rome-1")
    with pytest.raises(ConfigError, match="is of the chain"):
        provision(place, "rome-1", tmp_path / "other" / "office")
    stick = moved_away(place)
    (stick / "office.key").write_text(new_private_key())
    with pytest.raises(ConfigError, match="has another key than the one with which"):
        provision(place, "rome-1", stick)
    (stick / "office.key").write_text("ff")
    with pytest.raises(ConfigError, match="is damaged"):
        provision(place, "rome-1", stick)


def test_a_server_that_has_all_of_its_own_keys_cannot_invent_a_store(place: Path) -> None:
    """It signs with `ca.key`, with `server.key`, with an office of its own, or with none."""
    moved_away(place)
    shutil.rmtree(place / "kits")
    chain = Chain.load(place / "server")
    office = chain.office_key
    assert office is not None
    inventor = new_private_key()
    statement = peer_statement(chain.name, "rome-1", public_half(inventor))
    authority = Authority.load(chain.directory).sign(statement).hex()[:128]
    own_office = chain.directory / "office"
    (chain.directory / "office.pub").unlink()
    forged = chain.make_office(own_office).certify("rome-1").certificate
    for signature in (authority, sign(inventor, statement), "00" * 64):
        invented = PeerCertificate(
            chain=chain.name, store="rome-1", key=public_half(inventor), signature=signature
        )
        assert not invented.is_signed_by(office)
    assert not forged.is_signed_by(office)
    secrets = [
        path.name
        for path in chain.directory.iterdir()
        if path.is_file() and b"PRIVATE KEY" in path.read_bytes()
    ]
    assert sorted(secrets) == ["ca.key", "server.key"]


def test_a_chain_without_an_office_gets_one_when_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chains of earlier versions have none."""
    place = tmp_path / "chain"
    chain = Chain.make(place / "server", "shop.example", 9092)
    chain.write_kit("oslo-7", with_key=True)
    provision(place, "lyon-2")
    assert kit_of(place, "lyon-2").peer is None
    assert "has no office key, so its stores cannot take part in secure sums" in (
        capsys.readouterr().out
    )
    load_or_enrol(kit_of(place, "oslo-7"), wait=0)
    assert load_peer(store_home("oslo-7")) is None
    provision(place, "oslo-7", tmp_path / "stick")
    renew(place, office=tmp_path / "stick")
    load_or_enrol(kit_of(place, "oslo-7"), wait=0)
    assert load_peer(store_home("oslo-7")) is not None


def test_stores_remember_the_list_of_revoked_keys_with_the_greatest_number(place: Path) -> None:
    load_or_enrol(kit_of(place, "lyon-2"), wait=0)
    home = store_home("lyon-2")
    peer = load_peer(home)
    oslo = kit_of(place, "oslo-7").peer
    assert peer is not None
    assert oslo is not None
    assert RevokedPeers(home, peer).keys == frozenset()
    commands.revoke(place / "server", ["oslo-7"])
    first = revocations(place)
    assert (first.number, first.keys) == (1, (oslo.certificate.key,))
    renew(place, at_once=True)
    second = revocations(place)
    assert second.number == 2
    known = RevokedPeers(home, peer)
    known.keep(second)
    known.keep(first)  # the server sends an old one again
    assert RevokedPeers(home, peer).number == 2
    assert oslo.certificate.key in RevokedPeers(home, peer).keys
    forged = second.model_copy(update={"number": 3, "keys": ()})
    with pytest.raises(ValueError, match="not signed by this chain's office"):
        known.keep(forged)
    (home / "revoked-peers.json").write_text(forged.model_dump_json())
    with pytest.raises(ConfigError, match="is damaged; restore it"):
        RevokedPeers(home, peer)


def test_revoking_without_the_office_key_says_what_is_left_to_do(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stick = moved_away(place)
    commands.revoke(place / "server", ["oslo-7"])
    assert "Other stores still accept its peer key" in capsys.readouterr().out
    assert not (place / "server" / "revoked-peers.json").exists()
    commands.revoke(place / "server", ["oslo-7"], stick)
    assert len(revocations(place).keys) == 1
