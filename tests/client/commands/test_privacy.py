"""`flower-client privacy`, as a person uses it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from fedshelf.client.audit import AUDIT_FILE, AuditLog, AuditNote
from fedshelf.client.audit.verify import entries
from fedshelf.client.policy.policy import policy_of
from fedshelf.client.privacy.audited_state import PRIVATE_TRAINING, audited_hash, charge_notes
from fedshelf.client.privacy.charges import EMPTY_HASH, LEDGER_FILE, Charge
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from tests.helpers.client_command import refused, run

POLICY = 'epsilon = 8.0\ncounts = "none"\nclasses = ["boot", "hat"]\n'
STEPS = SampledGaussian(noise=2.0, rate=0.1, steps=10)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A store with a policy."""
    home = tmp_path / "stores" / "oslo"
    home.mkdir(parents=True)
    (home / "policy.toml").write_text(POLICY, encoding="utf-8")
    return home


def train(home: Path, run_id: str, rounds: int, *, private: bool = True) -> None:
    """Record rounds that the store has trained."""
    ledger = Ledger(home, policy_of(home).privacy_limits)
    with AuditLog(home / AUDIT_FILE) as log:
        for number in range(1, rounds + 1):
            why = PRIVATE_TRAINING if private else "asked to train"
            log.record(AuditNote("received", "train", run_id, number, why=why))
            if private:
                known = audited_hash(home)
                ledger.charge(
                    Charge(
                        "epsilon", f"{run_id} {number}", "", run_id, number, *vars(STEPS).values()
                    )
                )
                for note in charge_notes(ledger.charges(), known, 1e-5):
                    log.record(note)
            log.record(AuditNote("sent", "update"))
            log.record(AuditNote("sent", "masked"))  # the same once more, in a secure sum


def test_a_store_that_told_nothing_says_so(tmp_path: Path, home: Path) -> None:
    lines = run(tmp_path, "privacy", "--name", "oslo").stdout.splitlines()
    assert lines == [
        "Photos trained on: nothing was spent; the policy allows 8 (epsilon, at delta 1e-05).",
        "Photos held out: nothing was spent; the policy lets no evaluation leave (epsilon_judging"
        " is 0).",
        "No answer has left yet.",
    ]
    (home / "policy.toml").unlink()
    assert "the policy sets no epsilon, so answers without noise may leave" in (
        run(tmp_path, "privacy", "--name", "oslo").stdout
    )


def test_spent_left_and_rounds_are_told(tmp_path: Path, home: Path) -> None:
    train(home, "first", 3)
    train(home, "second", 2)
    told = run(tmp_path, "privacy", "--name", "oslo").stdout
    spent = epsilon([SampledGaussian(2.0, 0.1, 50)], 1e-5)
    assert f"Photos trained on: {spent:.3g} of 8 spent (epsilon, at delta 1e-05)." in told
    assert f"Run first: 3 answers, {epsilon([STEPS] * 3, 1e-5):.3g} by themselves." in told
    assert "Left so far: 5 updates, 0 evaluations and 0 descriptions." in told
    assert "had no noise" not in told
    machine = json.loads(run(tmp_path, "privacy", "--name", "oslo", "--json").stdout)
    more = machine["epsilon"]["more_like_the_last"]
    assert machine["epsilon"]["spent"] == pytest.approx(spent)
    assert machine["epsilon"]["left"] == pytest.approx(8 - spent)
    assert f"{more} more answers like the last one" in told
    assert epsilon([STEPS] * (5 + more), 1e-5) <= 8 < epsilon([STEPS] * (6 + more), 1e-5)
    assert [each["run"] for each in machine["epsilon"]["runs"]] == ["first", "second"]


def test_updates_without_noise_are_not_kept_quiet(tmp_path: Path, home: Path) -> None:
    train(home, "plain", 2, private=False)
    train(home, "private", 1)
    told = run(tmp_path, "privacy", "--name", "oslo").stdout
    assert "2 updates had no noise: of the photos in them nothing is proved." in told


def test_an_infinite_epsilon_is_no_number_for_programs(tmp_path: Path, home: Path) -> None:
    (home / "policy.toml").unlink()
    charge = Charge("epsilon", "1", "", "run", 1, 1e-200, 1.0, 1)
    Ledger(home, policy_of(home).privacy_limits).charge(charge)
    machine = json.loads(run(tmp_path, "privacy", "--name", "oslo", "--json").stdout)
    assert machine["epsilon"]["spent"] is None
    assert "inf spent" in run(tmp_path, "privacy", "--name", "oslo").stdout


def test_a_damaged_ledger_is_told_and_forgotten_by_a_person_alone(
    tmp_path: Path, home: Path
) -> None:
    train(home, "run", 2)
    (home / LEDGER_FILE).write_text("{", encoding="utf-8")
    told = refused(tmp_path, 3, "privacy", "--name", "oslo")
    assert "is damaged: nothing leaves until its latest copy is back" in told
    told = refused(tmp_path, 2, "privacy", "--name", "oslo", "--forget")
    assert "Nothing was forgotten, as the old one could not be read" in told
    assert "Add --yes if a person wants it" in told
    done = run(tmp_path, "privacy", "--name", "oslo", "--forget", "--yes")
    assert done.returncode == 0
    assert "nothing was spent" in run(tmp_path, "privacy", "--name", "oslo").stdout
    last = list(entries(home / AUDIT_FILE))[-1]
    assert (last.event, last.sha256) == ("forgotten", EMPTY_HASH)
    assert "by a person at this machine; the old one could not be read" in last.why


@pytest.mark.parametrize(("answer", "is_forgotten"), [("y\n", True), ("n\n", False)])
def test_a_person_at_a_terminal_is_asked(
    tmp_path: Path, home: Path, answer: str, *, is_forgotten: bool
) -> None:
    train(home, "run", 2)
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    done = subprocess.run(
        [Path(sys.executable).with_name("flower-client"), "privacy", "--name", "oslo", "--forget"],
        stdin=theirs,
        capture_output=True,
        text=True,
        env={**os.environ, "FEDSHELF_HOME": str(tmp_path)},
        timeout=120,
        check=False,
    )
    os.close(ours)
    os.close(theirs)
    assert "will not count any more that the old one had counted epsilon" in done.stdout
    assert (done.returncode == 0, (home / LEDGER_FILE).exists()) == (is_forgotten, not is_forgotten)


def test_nothing_is_forgotten_while_the_store_is_at_work(tmp_path: Path, home: Path) -> None:
    train(home, "run", 1)
    with AuditLog(home / AUDIT_FILE):
        refused(tmp_path, 4, "privacy", "--name", "oslo", "--forget", "--yes")
    assert (home / LEDGER_FILE).exists()
