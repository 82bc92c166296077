"""Differential privacy of a store in a real deployment."""

import json
from pathlib import Path

import pytest

from fedshelf.server.store_privacy.mechanism import STORE_RECORD_KEY
from fedshelf.server.store_privacy.noise_ledger import NOISE_FILE
from tests.helpers.deployed import free_port, history, wait_for
from tests.helpers.deployment_fixtures import Starter

pytestmark = pytest.mark.slow(minutes=0.5)

SETTINGS = ("privacy.store_noise=0.1", "strategy.weighting=uniform")


def test_a_server_that_goes_on_keeps_its_secret_and_counts_each_round_once(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    port = free_port()
    out = tmp_path / "run"
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    arguments = ("--stores", "2", "--classes", "boot,hat,shirt", *options)
    server = command.server(out, port, "--rounds", "1000", *arguments)
    for name in ("mitte", "ost"):
        command.store(folders[name], port)
    server.says("Differential privacy of a store: all 2 stores in a round, noise 0.1;")
    server.says("it destroys the model")
    wait_for(lambda: len(history(out)) >= 3)
    server.interrupt()
    assert server.ends() == 130, server.text
    ledger = out / NOISE_FILE
    assert ledger.stat().st_mode & 0o777 == 0o600
    kept = json.loads(ledger.read_text())
    done = len(history(out))
    assert len(kept["sums"]) == done
    again = command.server(out, port, "--rounds", str(done + 2), *arguments)
    assert again.ends() == 0, again.text
    after = json.loads(ledger.read_text())
    assert after["secret"] == kept["secret"]
    assert after["sums"][:done] == kept["sums"]
    assert len(after["sums"]) == done + 2
    summary = json.loads((out / "summary.json").read_text())
    assert summary[STORE_RECORD_KEY]["epsilon"] == history(out)[-1][STORE_RECORD_KEY]["epsilon"]
    assert summary["delivered_round"] == done + 2
    assert kept["secret"] not in again.text + server.text
