"""Servers looked after from another terminal: which run here, and how they are ended."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fedshelf.server.main import app
from tests.helpers.commands import call
from tests.helpers.deployed import free_port, history, processes_of, wait_for
from tests.helpers.deployment_fixtures import Starter


def listed(command: Starter, run: Path) -> dict[str, Any]:
    """Return the line that `flower-server runs` has of a run."""
    asked = command("flower-server", "runs", "--json")
    assert asked.ends() == 0, asked.text
    return next((row for row in json.loads(asked.text) if row["run"] == str(run)), {})


@pytest.mark.slow
def test_a_server_is_listed_and_stopped_from_another_terminal(
    command: Starter, tmp_path: Path
) -> None:
    out = tmp_path / "spring"
    port = free_port()
    server = command.server(out, port, "--stores", "2")
    server.says("Waiting for stores: 0 of 2")
    row = listed(command, out)
    assert (row["pid"], row["status"], row["address"]) == (
        server.process.pid,
        "waiting",
        f"127.0.0.1:{port}",
    )
    assert f"The run as a page: http://127.0.0.1:{row['page']}/" in server.text

    mistyped = command("flower-server", "stop", "sprng")
    assert mistyped.ends() == 4
    assert "Did you mean spring?" in mistyped.text

    stop = command("flower-server", "stop", "spring")
    assert stop.ends() == 0, stop.text
    assert f"{out}: Stopped." in stop.text
    assert server.ends() == 130, server.text
    assert "Stopping after this round" in server.text
    assert "nothing was trained" in server.lines[-1]
    assert processes_of(out) == []
    assert listed(command, out) == {}

    again = command("flower-server", "stop", out)
    assert again.ends() == 4
    assert f"No server runs in {out}: Stopped." in again.text


@pytest.mark.slow
def test_now_ends_a_server_that_waits_for_a_round(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    port = free_port()
    server = command.server(out, port, "--stores", "1", "--rounds", "9999")
    store = command.store(folders["mitte"], port)
    server.says("round=2/")
    os.kill(store.process.pid, signal.SIGSTOP)
    try:
        waiting = command("flower-server", "stop", out)
        server.says("Stopping after this round")
        assert waiting.process.poll() is None
        now = command("flower-server", "stop", out, "--now")
        assert now.ends() == 0, now.text
        assert waiting.ends() == 0, waiting.text
        assert server.ends() == 130
    finally:
        os.kill(store.process.pid, signal.SIGCONT)
    wait_for(lambda: not processes_of(out))
    assert len(history(out)) >= 2


def test_a_check_before_the_first_store_joins(tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    port = free_port()
    about = ["--host", "127.0.0.1", "--port", str(port), "--stores", "oslo", "--out", chain]
    assert call(app, "provision", *about).returncode == 0
    options = [
        "--credentials",
        chain / "server",
        "--live-port",
        "0",
        "--model",
        "niid-cnn",
        "--out",
        tmp_path / "run",
    ]
    good = call(app, "check", *options)
    assert good.returncode == 0, good.stdout + good.stderr
    assert (
        good.stdout.splitlines()[-1]
        == "ok    flower: The SuperLink starts, and answers through the gateway."
    )
    assert not (tmp_path / "run").exists()
    (chain / "server" / "ca.key").chmod(0o644)
    bad = call(app, "check", *options, "--json")
    assert bad.returncode == 4, bad.stdout + bad.stderr
    (finding,) = json.loads(bad.stdout)
    assert (finding["verdict"], finding["about"]) == ("fail", "credentials")
    assert "chmod 600" in finding["told"]
