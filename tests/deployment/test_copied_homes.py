"""A store's home that was copied: one of the two goes on, the other is told so, and a restart is no copy."""

import shutil
from pathlib import Path

import pytest

from common.errors import RefusedError
from server.credentials.sessions import read_sessions
from tests.deployment.conftest import Starter
from tests.deployment.deployed import wait_for
from tests.deployment.provisioned import running


@pytest.mark.slow
def test_a_copy_of_a_store_is_refused_and_a_restart_is_not(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    home, copy = tmp_path / "state", tmp_path / "copied"
    with running(tmp_path, "kiel") as (chain, _):
        join = ("flower-client", "join", "--kit", chain.write_kit("kiel", with_key=True), "--data", folders["ost"])
        first = command(*join)
        first.says("Joined; waiting for work.")
        shutil.copytree(home, copy)
        command.environment |= {"FEDSHELF_HOME": str(copy)}
        second = command(*join)
        second.says("another flower-client with this store's key was at work seconds ago")
        assert second.ends() == RefusedError.exit_code == 7
        assert "It came first and goes on; this one ends." in second.lines[-1]
        assert first.process.poll() is None
        log, noted = tmp_path / "flower" / "door.log", "127.0.0.1: store kiel: a second machine, or a copy of its home,"
        wait_for(lambda: f"{noted} has its key" in log.read_text())
        wait_for(lambda: read_sessions(chain.sessions)["kiel"].refused)
        first.kill()
        command.environment |= {"FEDSHELF_HOME": str(home)}
        again = command(*join)
        again.says("Joined; waiting for work.")
        again.interrupt()
        assert again.ends() in (0, 130)
        listed = command("flower-server", "stores", "list", "--credentials", chain.directory)
        assert listed.ends() == 0
        assert "kiel: a second machine, or a copy of its home, came with its key until" in listed.text
