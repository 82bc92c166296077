"""The ledger: what it counts, what it refuses, and what it notices."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fedshelf.client.audit import AUDIT_FILE, AuditLog, AuditNote
from fedshelf.client.failures import StoreError
from fedshelf.client.privacy.charges import (
    EMPTY_HASH,
    LEDGER_FILE,
    Charge,
    chain_hashes,
    read_charges,
)
from fedshelf.client.privacy.ledger import Ledger, PrivacyLimits
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon

DELTA = 1e-5
CHARGE = Charge(
    "epsilon", "identity 1", "order 1", run="run", round=1, noise=2.0, rate=1.0, steps=1
)
ONE = epsilon([SampledGaussian(2.0, 1.0, 1)], DELTA)  # 2.17
TWO = epsilon([SampledGaussian(2.0, 1.0, 2)], DELTA)


def charge(number: int, **changed: object) -> Charge:
    return replace(CHARGE, identity=f"identity {number}", order=f"order {number}", **changed)


def ledger(home: Path, limit: float = 0.0, judging: float = 0.0) -> Ledger:
    return Ledger(home, PrivacyLimits({"epsilon": limit, "epsilon_judging": judging}, DELTA))


def refusal(call: Callable[[], object]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        call()
    assert caught.value.code == "policy"
    return caught.value


def audit(home: Path, state: str, event: str = "charged") -> None:
    """Write the line that tells of a state."""
    with AuditLog(home / AUDIT_FILE) as log:
        log.record(AuditNote(event, sha256=state))  # type: ignore[arg-type]


def test_a_new_store_has_spent_nothing(tmp_path: Path) -> None:
    assert ledger(tmp_path).charges() == ()
    assert not (tmp_path / LEDGER_FILE).exists()


def test_an_identity_is_charged_once_however_often_it_is_asked(tmp_path: Path) -> None:
    for _ in range(10):
        ledger(tmp_path, limit=ONE).charge(CHARGE)
    assert read_charges(tmp_path / LEDGER_FILE) == (CHARGE,)
    assert ledger(tmp_path).spent("epsilon", [CHARGE]) == ONE


def test_numbers_are_read_back_as_they_were_charged(tmp_path: Path) -> None:
    for number, noise in enumerate([2, 1 / 3, 1e-300, 1e300]):
        ledger(tmp_path).charge(charge(number, noise=noise, rate=1))
    assert [each.noise for each in ledger(tmp_path).charges()] == [2, 1 / 3, 1e-300, 1e300]


def test_the_charge_that_would_pass_the_limit_is_refused_and_not_counted(tmp_path: Path) -> None:
    limited = ledger(tmp_path, limit=TWO)
    limited.charge(charge(1))
    limited.charge(charge(2))
    error = refusal(lambda: limited.charge(charge(3)))
    assert (error.detail, error.retry_after) == ("epsilon", 0)
    assert f"allowed: {TWO:g}" in str(error)
    assert limited.charges() == (charge(1), charge(2))
    limited.charge(charge(3, steps=0))  # tells nothing


def test_an_order_is_judged_before_its_photos_are_known(tmp_path: Path) -> None:
    limited = ledger(tmp_path, limit=1.01 * ONE)
    asked = replace(CHARGE, identity="")
    limited.check_room(asked)
    limited.charge(CHARGE)
    limited.check_room(asked)  # again: its photos may be the same
    assert refusal(lambda: limited.check_room(charge(2))).detail == "epsilon"
    changed_photos = replace(CHARGE, identity="identity of other photos")
    assert refusal(lambda: limited.charge(changed_photos)).detail == "epsilon"


def test_without_a_limit_all_is_counted_for_the_day_when_there_is_one(tmp_path: Path) -> None:
    for number in range(3):
        ledger(tmp_path).charge(charge(number))
    assert refusal(lambda: ledger(tmp_path, limit=TWO).check_room(charge(3))).detail == "epsilon"


def test_budgets_are_apart(tmp_path: Path) -> None:
    both = ledger(tmp_path, limit=ONE, judging=ONE)
    both.charge(charge(1))
    both.charge(charge(2, budget="epsilon_judging"))
    error = refusal(lambda: both.charge(charge(3, budget="epsilon_judging")))
    assert error.detail == "epsilon-judging"


def test_no_noise_is_more_than_any_limit(tmp_path: Path) -> None:
    refusal(lambda: ledger(tmp_path, limit=1e308).charge(charge(1, noise=0.0)))


def test_charges_of_many_threads_all_count(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: ledger(tmp_path).charge(charge(number)), range(24)))
    charges = read_charges(tmp_path / LEDGER_FILE)
    assert sorted(charges, key=str) == sorted(map(charge, range(24)), key=str)


def edited(key: str, value: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = json.loads(path.read_text())
        content["charges"][0][key] = value
        path.write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_text(""),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text('{"hash": "' + EMPTY_HASH + '", "charges": [7]}'),
        lambda path: path.write_text("[" * 100_000),
        edited("noise", 200.0),
        edited("steps", 0),
        edited("budget", "epsilon_judging"),
        edited("more", 1),
    ],
)
def test_a_damaged_ledger_lets_nothing_leave(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    ledger(tmp_path).charge(charge(1))
    damage(tmp_path / LEDGER_FILE)
    for call in (
        ledger(tmp_path).charges,
        lambda: ledger(tmp_path).charge(charge(1)),
        lambda: ledger(tmp_path).check_room(charge(1)),
    ):
        error = refusal(call)
        assert error.detail == "privacy-record"
        assert "is damaged: nothing leaves until its latest copy is back" in str(error)
        assert f"--name {tmp_path.name} --forget" in str(error)


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "started anew"])
def test_a_ledger_that_was_set_back_or_deleted_lets_nothing_leave(
    tmp_path: Path, *, is_running: bool
) -> None:
    """A running process remembers its last charge, another one reads the audit log."""
    path = tmp_path / LEDGER_FILE
    running = ledger(tmp_path)
    running.charge(charge(1))
    earlier = shutil.copy(path, tmp_path / "earlier")
    running.charge(charge(2))
    latest = shutil.copy(path, tmp_path / "latest")
    audit(tmp_path, chain_hashes(running.charges())[-1])

    def charges() -> tuple[Charge, ...]:
        return (running if is_running else ledger(tmp_path)).charges()

    shutil.copy(earlier, path)
    assert "older than the audit log" in str(refusal(charges))
    path.unlink()
    assert "is missing" in str(refusal(charges))
    shutil.copy(latest, path)
    assert charges() == (charge(1), charge(2))


def test_a_ledger_may_be_ahead_of_the_audit_log(tmp_path: Path) -> None:
    """A killed process has charged, and no answer has left."""
    first = ledger(tmp_path)
    first.charge(charge(1))
    audit(tmp_path, chain_hashes([charge(1)])[-1])
    first.charge(charge(2))
    assert ledger(tmp_path).charges() == (charge(1), charge(2))


def test_after_a_person_forgot_it_the_ledger_may_be_empty(tmp_path: Path) -> None:
    audit(tmp_path, "5" * 64)
    refusal(ledger(tmp_path).charges)
    audit(tmp_path, EMPTY_HASH, "forgotten")
    assert ledger(tmp_path).charges() == ()
