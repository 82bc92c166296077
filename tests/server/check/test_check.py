"""`flower-server check`: each thing that would keep a server from starting, or stores from joining,
is named.
"""

import os
import re
import socket
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from fedshelf.common.config import STORES_OWN, resolve
from fedshelf.common.system.files import write_private, write_text
from fedshelf.server.addresses import LOOPBACK, Address, free_port
from fedshelf.server.check.certificates import certificates, credentials, names
from fedshelf.server.check.command import SERVER_CHECKS, exit_code, run_checks
from fedshelf.server.check.finding import CheckFinding, CheckSubject
from fedshelf.server.check.machine import clock, disk
from fedshelf.server.check.ports import listening_program, ports
from fedshelf.server.credentials.authority import Authority, certificate_text, load_key
from fedshelf.server.credentials.chain import Chain
from tests.helpers.deployed import draw_photos
from tests.helpers.frozen_backbone import closed_form

MakeSubject = Callable[..., CheckSubject]


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    chain = Chain.make(tmp_path / "chain" / "server", "127.0.0.1", 9092)
    chain.write_kit("oslo")
    return chain


@pytest.fixture
def subject(chain: Chain, tmp_path: Path) -> MakeSubject:
    def make(port: int = 0, live_port: int | None = 0, **settings: object) -> CheckSubject:
        config = resolve({key.replace("__", "."): value for key, value in settings.items()})
        return CheckSubject(
            chain, Address(LOOPBACK, port or free_port()), live_port, tmp_path / "run", config
        )

    return make


def verdicts(findings: Iterable[CheckFinding]) -> list[tuple[str, str]]:
    return [(finding.about, finding.verdict) for finding in findings]


def reissue(
    chain: Chain,
    host: str = "127.0.0.1",
    life: timedelta = timedelta(days=9),
    by: Path | None = None,
) -> None:
    key = load_key((chain.directory / "server.key").read_text())
    certificate = Authority.load(by or chain.directory).issue((host,), key, life)
    write_text(chain.directory / "server.crt", certificate_text(certificate))


def test_fresh_credentials_are_good(subject: MakeSubject) -> None:
    found = [
        *credentials(subject()),
        *certificates(subject()),
        *names(subject()),
        *clock(subject()),
    ]
    assert verdicts(found)[:4] == [
        ("credentials", "ok"),
        ("authority", "ok"),
        ("certificate", "ok"),
        ("name", "ok"),
    ]
    assert found[4].verdict != "fail"
    assert "Stores: 1 invited." in found[0].told


def test_a_kit_that_others_can_read_is_named(chain: Chain, subject: MakeSubject) -> None:
    chain.kit_path("oslo").chmod(0o644)
    assert verdicts(credentials(subject())) == [("credentials", "ok"), ("kits", "warn")]


def test_a_certificate_that_has_ended_is_renewed_and_others_are_not_the_chains(
    chain: Chain, subject: MakeSubject, tmp_path: Path
) -> None:
    reissue(chain, life=timedelta(hours=-1))
    assert verdicts(certificates(subject()))[-1] == ("certificate", "warn")
    other = Chain.make(tmp_path / "other" / "server", "127.0.0.1", 9092)
    reissue(chain, by=other.directory)
    assert verdicts(certificates(subject()))[-1] == ("certificate", "fail")
    shop = Chain.make(tmp_path / "shop" / "server", "shop.example", 9092)
    reissue(shop, host="elsewhere.example")
    (finding,) = names(CheckSubject(shop, Address(LOOPBACK, free_port()), 0, tmp_path, resolve()))
    assert (finding.verdict, "shop.example" in finding.told) == ("fail", True)
    reissue(chain)
    write_private(chain.directory / "server.key", (other.directory / "server.key").read_text())
    _, finding = certificates(subject())
    assert (finding.verdict, "not the key" in finding.told) == ("fail", True)


def test_a_port_in_use_is_told_with_who_has_it(subject: MakeSubject) -> None:
    with socket.create_server((LOOPBACK, 0)) as listening:
        port = listening.getsockname()[1]
        assert listening_program(port).startswith(f"process {os.getpid()} (")
        (finding,) = ports(subject(port))
        assert finding.verdict == "fail"
        assert f"{LOOPBACK}:{port} is used by process {os.getpid()}" in finding.told
        assert verdicts(ports(subject(live_port=port))) == [("port", "ok"), ("page", "fail")]
    assert verdicts(ports(subject(port))) == [("port", "ok")]


def test_the_sums_of_each_store_need_room_in_every_checkpoint(subject: MakeSubject) -> None:
    """Of 256 features: 257 * 258 / 2 products, and 257 sums for each of 100 classes."""
    solved = {
        **closed_form(), "data__dataset": STORES_OWN, "cohort__min_stores": 10_000,
        "run__keep_checkpoints": 98, "data__image_size": 16,
    }  # fmt: skip
    (finding,) = disk(subject(**solved))
    sums = 257 * 258 // 2 + 257 * 100
    bytes_of_sums = 4 * sums * (10_000 * (98 + 2) + 2 * 10_001)
    (needed,) = re.findall(r"10000 stores need about ([\d.]+) GB", finding.told)
    assert 1 <= float(needed) * 10**9 / bytes_of_sums < 1.02


def test_a_disk_too_small_for_the_checkpoints_is_no_place_for_a_run(subject: MakeSubject) -> None:
    assert verdicts(disk(subject(model__name="niid-cnn"))) == [("disk", "ok")]
    (finding,) = disk(subject(model__name="niid-cnn", run__keep_checkpoints=10**9))
    assert (finding.verdict, "Free some space" in finding.told) == ("fail", True)


def test_test_photos_are_read_as_a_run_reads_them(subject: MakeSubject, tmp_path: Path) -> None:
    photos = draw_photos(tmp_path / "test", ["boot", "hat"], per_class=2)
    settings = {
        "evaluation__test_data": str(photos),
        "data__image_size": 32,
        "model__name": "niid-cnn",
    }
    (finding,) = SERVER_CHECKS["test data"](subject(**settings))
    assert (finding.verdict, finding.told[:31]) == ("ok", "4 usable photos of 2 classes in")
    (photos / "hat" / "broken.jpg").write_text("no photo")
    (finding,) = SERVER_CHECKS["test data"](subject(**settings))
    assert (finding.verdict, "broken.jpg" in finding.told) == ("warn", True)


def test_what_cannot_be_looked_at_has_failed_and_the_others_are_looked_at_all_the_same(
    subject: MakeSubject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(SERVER_CHECKS, "flower")  # tried with the command, in tests/end_to_end
    photos = draw_photos(tmp_path / "test", ["boot", "scarf"], per_class=1)
    settings = {
        "evaluation__test_data": str(photos),
        "data__classes": ("boot", "hat"),
        "model__name": "niid-cnn",
    }
    found = list(run_checks(subject(**settings, data__image_size=32)))
    assert [about for about, verdict in verdicts(found) if verdict == "fail"] == ["test data"]
    assert "'scarf'" in next(finding.told for finding in found if finding.about == "test data")
    assert found[-1].about == "disk"
    assert exit_code(found) == 4
