"""`flower-client status`, `forget` and `leave`, as a person uses them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from fedshelf.client.audit import AUDIT_FILE, AuditLog, AuditNote, verify
from fedshelf.client.connection.credentials import new_key
from fedshelf.client.identity.enrolment import Membership
from fedshelf.client.identity.home import private_secret
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.common.system.files import write_private
from tests.helpers.client_command import refused, run

KEPT = {"audit.jsonl", "audit.head", ".audit.jsonl.lock", "policy.toml", "models"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that has trained, with all that it can have in its home, and decoded photos in the
    cache.
    """
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "stores" / "oslo-7"
    key = new_key()
    home.mkdir(parents=True, mode=0o700)
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    write_private(home / "key.pem", key.private_bytes(serialization.Encoding.PEM, *form).decode())
    parts = {
        "chain": "ab12",
        "server": "shop.example:9092",
        "authority": "",
        "store": "oslo-7",
        "invitation": "i",
    }
    (home / "store.json").write_text(
        Membership(**parts, since=datetime(2026, 11, 1, tzinfo=UTC)).model_dump_json()
    )
    (home / "policy.toml").write_text(
        'rounds_per_day = 5\nmegabytes_down_per_day = 10\nhours = ["00:00-24:00"]\n'
    )
    Usage(home / "usage.json").add(Spent(trainings=2, seconds=90.0, down=4_000_000))
    for path in (
        "states/run/oslo-7/round-000001.safetensors",
        "models/spring/model.json",
        "health.html",
    ):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).write_text("{}")
    (tmp_path / "cache" / "images").mkdir(parents=True)
    (tmp_path / "cache" / "images" / "a.pixels").write_bytes(b"x" * 2_000_000)
    with AuditLog(home / AUDIT_FILE, now=lambda: 1e9, key=key) as log:
        log.record(AuditNote("joined", why="old.example:9092"))
        log.record(AuditNote("received", "train", "run-1", 3))
        log.record(AuditNote("sent", "update", "run-1", 3))
    return home


@pytest.fixture
def at_work(home: Path) -> Iterator[AuditLog]:
    with AuditLog(home / AUDIT_FILE, key=None) as log:
        log.record(AuditNote("policy"))
        yield log


def test_a_run_without_a_name_leaves_no_gap(tmp_path: Path, home: Path) -> None:
    with AuditLog(home / AUDIT_FILE, now=lambda: 1e9, key=None) as log:
        log.record(AuditNote("sent", "update", "", 4))
    assert "round 4.\n" in run(tmp_path, "status", "--name", home.name).stdout


def test_a_store_that_is_not_at_work_says_so_with_its_exit_code(tmp_path: Path, home: Path) -> None:
    done = run(tmp_path, "status", "--name", home.name)
    assert done.returncode == 4
    assert "Store oslo-7: not at work." in done.stdout
    assert "Last trained: 2001-09-09" in done.stdout
    assert "round 3 of run run-1." in done.stdout
    assert "Left of rounds_per_day: 3 of 5." in done.stdout
    assert f"Model of run spring, received {datetime.now():%Y-}" in done.stdout
    assert (
        done.stderr
        == "Error: No flower-client is at work as oslo-7 on this machine; start it with join.\n"
    )


@pytest.mark.usefixtures("at_work")
def test_the_join_of_an_earlier_process_is_not_that_of_this_one(
    tmp_path: Path, home: Path, at_work: AuditLog
) -> None:
    done = run(tmp_path, "status", "--name", home.name)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0,
        "Store oslo-7: waiting for the server.",
    )
    at_work.record(AuditNote("joined", why="shop.example:9092"))
    told = json.loads(run(tmp_path, "status", "--name", home.name, "--json").stdout)
    assert (told["running"], told["joined_to"], told["chain"]) == (
        True,
        "shop.example:9092",
        "ab12",
    )
    assert told["last_trained"] == {
        **told["last_trained"],
        "kind": "update",
        "run": "run-1",
        "round": 3,
    }
    assert told["budgets"] == [
        {"key": "rounds_per_day", "limit": 5, "used": 2, "left": 3},
        {"key": "megabytes_down_per_day", "limit": 10.0, "used": 4.0, "left": 6.0},
    ]
    assert [model["run"] for model in told["models"]] == ["spring"]
    for number in (4, 5):
        at_work.record(AuditNote("sent", "update", "run-1", number))
    assert (
        json.loads(run(tmp_path, "status", "--name", home.name, "--json").stdout)["last_trained"][
            "round"
        ]
        == 5
    )
    for command in (("forget",), ("leave", "--yes")):
        assert "Another process writes" in refused(
            tmp_path, 4, command[0], "--name", home.name, *command[1:]
        )
    assert (home / "key.pem").exists()


def test_forgetting_takes_every_copy_of_photos_and_nothing_else(tmp_path: Path, home: Path) -> None:
    before = {path.name for path in home.iterdir()}
    done = run(tmp_path, "forget", "--name", home.name)
    assert (done.returncode, "2.0 MB of decoded photos" in done.stdout) == (0, True)
    assert list((tmp_path / "cache" / "images").iterdir()) == []
    assert before - {path.name for path in home.iterdir()} == {"health.html"}


def test_leaving_for_good_asks_first_and_keeps_what_is_not_the_chains(
    tmp_path: Path, home: Path
) -> None:
    private_secret(home)  # with the ledger: whatever that counts has this secret's noise
    told = refused(tmp_path, 2, "leave", "--name", home.name)
    assert "key.pem" in told
    assert "secret.bin" not in told
    assert "audit" not in told
    assert (home / "key.pem").exists()
    done = run(tmp_path, "leave", "--name", home.name, "--yes")
    assert done.returncode == 0
    assert {path.name for path in home.iterdir()} == KEPT | {"secret.bin"}
    verdict = verify(home / AUDIT_FILE)
    assert (verdict.fault, verdict.head.number, bool(verdict.signer)) == ("", 4, True)
    assert run(tmp_path, "leave", "--name", home.name, "--yes", "--everything").returncode == 0
    assert not home.exists()


LISTS_TORCH = """
import sys
from fedshelf.client.main import main
try:
    main()
finally:
    print("loaded:", [name for name in ("torch", "flwr") if name in sys.modules])
"""


@pytest.mark.parametrize("command", [["status"], ["forget"], ["leave", "--yes"]])
def test_a_command_that_looks_at_files_does_not_load_torch_for_it(
    tmp_path: Path, home: Path, command: list[str]
) -> None:
    arguments = [sys.executable, "-c", LISTS_TORCH, *command, "--name", home.name]
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FEDSHELF_HOME": str(tmp_path)},
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        4 if command == ["status"] else 0,
        "loaded: []",
    )
