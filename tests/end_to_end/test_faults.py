"""Faults while stores train: the run goes on, or stops and can be resumed, and nothing is
left over.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.helpers.deployed import (
    SCRIPTS,
    Command,
    draw_photos,
    free_port,
    history,
    process_ids,
    processes_of,
    summary,
    wait_for,
)
from tests.helpers.deployment_fixtures import Starter

pytestmark = pytest.mark.slow


def kill(pattern: str, out: Path) -> None:
    found = process_ids(pattern, out)
    assert found, f"no process matches {pattern}"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stores(command: Starter, folders: dict[str, Path], port: int) -> list[Command]:
    return [command.store(folders[name], port) for name in ("mitte", "ost")]


LONG = ["--stores", "2", "--rounds", "9"]
VICTIMS = [
    "flower-superlink",
    "fedshelf.server.gateway.proxy",
    "flower-superexec",
    "flwr-serverapp",
]


def test_a_superlink_that_dies_while_it_makes_its_database_begins_with_another_and_no_store_joins(
    command: Starter, out: Path, port: int
) -> None:
    server = command.server(out, port, *LONG, "--wait", "0.5")
    wait_for((out / "flower" / "state.db").exists)
    kill("flower-superlink", out)
    assert server.ends() == 5, server.text
    assert "0 of the 2 stores needed joined within 0.5 s" in server.lines[-1]
    assert processes_of(out) == []


@pytest.mark.slow(minutes=2)
def test_the_run_outlives_each_of_its_processes(
    command: Starter, stores: list[Command], out: Path, port: int
) -> None:
    server = command.server(out, port, *LONG)
    for number, victim in enumerate(VICTIMS, start=1):
        server.says(f"round={2 * number}/9")
        kill(victim, out)
    assert server.ends() == 0, server.text
    assert [record["round"] for record in history(out)] == list(range(1, 10))
    assert summary(out)["status"] == "finished"
    assert all(store.process.poll() is None for store in stores)
    assert processes_of(out) == []


@pytest.mark.slow(minutes=2)
def test_a_run_whose_launcher_was_killed_and_then_interrupted_is_resumed_to_the_same_model(
    command: Starter,
    stores: list[Command],
    folders: dict[str, Path],
    tmp_path: Path,
    out: Path,
    port: int,
) -> None:
    """Also: stores stay through it, and a quorum can become what one store alone makes, if the
    other left for good.
    """
    # the last model is that of all rounds; the best one may be the first
    last = ["--set", "run.deliver=last"]
    server = command.server(out, port, *LONG, *last)
    server.says("round=2/9")
    server.kill()
    wait_for(lambda: processes_of(out) == [])
    done = len(history(out))
    assert 2 <= done < 8
    resume = ["flower-server", "start", "--out", out, "--port", str(port), "--resume", "--insecure"]
    resumed = command(*resume)
    resumed.says(f"round={done + 1}/9")
    resumed.interrupt()
    assert resumed.ends() == 130
    assert processes_of(out) == []
    assert (summary(out)["status"], (out / "model.safetensors").exists()) == ("stopped", True)
    stopped = len(history(out))
    assert done < stopped < 9
    for name in ("mitte", "ost"):
        shutil.copytree(folders[name], tmp_path / "both" / name)
    undisturbed = command.simulated(
        tmp_path / "simulated", tmp_path / "both", "--rounds", str(stopped), *last
    )
    assert summary(out)["weights_sha256"] == undisturbed["weights_sha256"]
    for store in stores:
        assert "Joined again." in store.text
    stores[0].kill()
    waiting = command(*resume)
    waiting.says("Waiting for stores: 1 of 2")
    waiting.process.terminate()
    assert waiting.ends() == 130, "one SIGTERM ends the wait for a quorum"
    assert "rounds done before are kept" in waiting.lines[-1]
    assert len(history(out)) == stopped
    smaller = command(*resume, "--stores", "1")  # the store has left for good
    assert smaller.ends() == 0, smaller.text
    assert "Settings that hold from here on: cohort.min_stores 2 -> 1." in smaller.text
    changed = [record.get("settings_changed") for record in history(out)]
    assert changed == [
        {"cohort.min_stores": [2, 1]} if number == stopped else None for number in range(9)
    ]


@pytest.mark.slow(minutes=2)
def test_stores_that_cannot_take_part_and_one_that_is_killed_fail_alone_and_it_may_come_back(
    command: Starter, folders: dict[str, Path], tmp_path: Path, out: Path, port: int
) -> None:
    """One has a class that the run does not know, and the photos of another have vanished since it
    joined; the run waits for others.
    """
    odd = command.store(draw_photos(tmp_path / "odd", ["boot", "teapot"]), port)
    bare = command.store(gone := draw_photos(tmp_path / "gone", ["boot", "hat"]), port)
    for store in (odd, bare):
        store.says("Waiting for the server")
    shutil.rmtree(gone)
    long = ["--rounds", "1000", "--epochs", "30", "--classes", "boot,hat,shirt"]
    server = command.server(out, port, "--stores", "1", *long)
    server.says("gone cannot take part: its images cannot be used")
    server.says("odd is left alone until")
    stores = {name: command.store(folders[name], port) for name in ("mitte", "ost")}
    odd.says("teapot")

    stores["ost"].says("training.")
    done = len(history(out))
    stores["ost"].kill()
    wait_for(lambda: any("ost" not in record["stores"] for record in history(out)[done:]))
    again = command.store(folders["ost"], port)
    again.says("trained on")
    wait_for(lambda: sorted(history(out)[-1]["stores"]) == ["mitte", "ost"])
    server.interrupt()
    assert server.ends() == 130, server.text

    # It died while it trained; or just after: then it was not asked any more.
    lost = {"code": "unavailable", "reason": "lost the connection"}
    without = next(record for record in history(out)[done:] if "ost" not in record["stores"])
    assert without["failed"].get("ost", lost) == lost
    for record in history(out):
        assert set(record["stores"]) <= {"mitte", "ost"}
        others = {
            failed["code"] for name, failed in record["failed"].items() if name in ("odd", "gone")
        }
        assert others <= {"unknown-class", "data"}
        assert set(record["failed"]) <= {"odd", "gone", "ost"}
    assert str(gone) not in server.text
    assert "Traceback" not in odd.text + bare.text


@pytest.mark.slow(minutes=2)
def test_our_store_and_flowers_own_supernode_speak_the_same(
    command: Starter, folders: dict[str, Path], tmp_path: Path, out: Path, port: int
) -> None:
    """The contract of `client.connection.fleet`: the stock SuperNode, running the same installed
    app, gives the same model.
    """
    shutil.copytree(folders["mitte"], tmp_path / "one" / "mitte")
    node = ["--superlink", f"127.0.0.1:{port}", "--insecure", "--port", str(free_port())]
    config = f'store="mitte" data="{folders["mitte"]}"'
    path = os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "PATH": path}
    stock = Command(
        {**command.environment, **quiet, "FLWR_HOME": str(out.with_name("node"))},
        *["flower-supernode", *node, "--node-config", config],
    )
    command.started.append(stock)
    rounds = ["--rounds", "1", "--classes", "boot,hat", "--set", "evaluation.stores=false"]
    server = command.server(out, port, "--stores", "1", *rounds)
    # the node starts a process for each message: minutes where the machine is busy
    assert server.ends(600) == 0, stock.text
    ours = command.simulated(tmp_path / "simulated", tmp_path / "one", *rounds)
    assert summary(out)["weights_sha256"] == ours["weights_sha256"]
