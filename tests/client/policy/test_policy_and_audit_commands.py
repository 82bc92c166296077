"""`flower-client policy` and `flower-client audit`, as a person uses them."""

import json
from pathlib import Path

import pytest

from fedshelf.client.audit import AuditLog, AuditNote
from fedshelf.client.policy.command import check_names
from fedshelf.client.policy.policy import Policy
from fedshelf.common.errors import ConfigError
from fedshelf.server.credentials.chain import Chain
from tests.helpers.client_command import refused, run

HASH = "ab" * 32


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a store with one round behind it."""
    home = tmp_path / "stores" / "oslo-7"
    home.mkdir(parents=True)
    with AuditLog(home / "audit.jsonl", now=lambda: 1e9) as audit:
        audit.record(AuditNote("joined", why="shop.example:9092"))
        audit.record(
            AuditNote("received", "train", "run-1", 1, 2_500_000, HASH, "[bold]round 1\x1b[2J")
        )
        audit.record(AuditNote("sent", "update", "run-1", 1, 1_250_000, HASH, "round 1"))
    return home / "audit.jsonl"


def test_a_policy_is_written_once_then_checked_and_told(tmp_path: Path) -> None:
    path = tmp_path / "stores" / "oslo-7" / "policy.toml"
    Chain.make(tmp_path / "chain" / "server", "shop.example", 9092)
    kit = Chain.load(tmp_path / "chain" / "server").write_kit("oslo-7")
    done = run(tmp_path, "policy", "--kit", str(kit))
    assert (done.returncode, str(path) in done.stdout) == (0, True)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "0 of 24 keys differ" in run(tmp_path, "policy", "--name", "oslo-7").stdout
    path.write_text('hours = ["22:00-06:00"]\nmetrics = "accuracy"\n', encoding="utf-8")
    told = run(tmp_path, "policy", "--name", "oslo-7").stdout
    assert "2 of 24 keys differ" in told
    assert "hours = ['22:00-06:00']: local hours in which work may begin" in told
    path.write_text('metric = "accuracy"\n', encoding="utf-8")
    assert "unknown key 'metric'. Did you mean metrics?" in refused(
        tmp_path, 2, "policy", "--name", "oslo-7"
    )
    assert path.read_text(encoding="utf-8") == 'metric = "accuracy"\n'


def test_a_policy_is_never_that_of_a_store_which_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "stores" / "oslo-7").mkdir(parents=True)
    told = refused(tmp_path, 2, "policy", "--name", "olso-7")
    assert "stores that were set up on this machine: oslo-7. Did you mean oslo-7?" in told
    assert [path.name for path in (tmp_path / "stores").iterdir()] == ["oslo-7"]
    assert "--kit NAME.kit of a new store" in refused(tmp_path, 2, "policy")


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (
            Policy(models=("niid-cnn", "resnet17")),
            "models has 'resnet17', which Fedshelf does not know. Did you",
        ),
        (
            Policy(strategies=("fedavgg",)),
            "strategies has 'fedavgg', which Fedshelf does not know. Did you",
        ),
    ],
)
def test_a_name_that_nothing_has_is_told_when_the_policy_is_checked(
    policy: Policy, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        check_names(policy)
    check_names(Policy(models=("niid-cnn", "resnet18"), strategies=("fedavg", "median")))


def test_a_person_reads_what_came_and_what_left(tmp_path: Path, log: Path) -> None:
    done = run(tmp_path, "audit", "--name", "oslo-7")
    assert done.returncode == 0
    (day,) = (line for line in done.stdout.splitlines() if "2.5 MB" in line and "1.2 MB" in line)
    assert [cell.strip() for cell in day.strip("│").split("│")][1:] == [
        "1",
        "2.5 MB",
        "1",
        "1.2 MB",
        "0",
    ]
    assert "[bold]round 1\ufffd[2J" in done.stdout
    assert "\x1b" not in done.stdout
    assert json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["hash"] in done.stdout
    assert run(tmp_path, "audit", "--name", "oslo-7", "--json").stdout == log.read_text(
        encoding="utf-8"
    )


def test_a_log_is_verified(tmp_path: Path, log: Path) -> None:
    head = json.loads(log.read_text(encoding="utf-8").splitlines()[-1])["hash"]
    done = run(tmp_path, "audit", "--name", "oslo-7", "--verify")
    assert (done.returncode, f"up to number 3, whose hash is {head}" in done.stdout) == (0, True)
    whole = log.read_bytes()
    log.write_bytes(log.read_bytes().replace(b"2500000", b"1500000"))
    assert "line 2 of audit.jsonl is not as it was written" in refused(
        tmp_path, 4, "audit", "--name", "oslo-7", "--verify"
    )
    assert whole.count(b"2500000") == 1
    log.unlink()
    assert "ends with number 0, but number 3 had been written" in refused(
        tmp_path, 4, "audit", "--name", "oslo-7", "--verify"
    )


@pytest.mark.usefixtures("log")
def test_mistakes_are_told(tmp_path: Path) -> None:
    assert "set up on this machine: oslo-7." in refused(tmp_path, 2, "audit", "--name", "oslo7")
    (tmp_path / "stores" / "lyon-2").mkdir()
    assert "it begins when the store joins" in refused(tmp_path, 2, "audit", "--name", "lyon-2")
    assert "it begins when the store joins" in refused(
        tmp_path, 2, "audit", "--name", "lyon-2", "--verify"
    )
    assert "cannot be used" in refused(tmp_path, 2, "policy", "--name", "../lyon")
