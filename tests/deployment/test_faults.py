"""What goes wrong while stores train: the run goes on, or stops and can be resumed, and nothing is left over."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.deployment.conftest import Starter
from tests.deployment.deployed import (
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

pytestmark = pytest.mark.slow


def kill(pattern: str, out: Path) -> None:
    found = process_ids(pattern, out)
    assert found, f"no process matches {pattern}"
    for pid in found:
        os.kill(pid, signal.SIGKILL)


def rounds_done(out: Path) -> int:
    return len(history(out)) if (out / "history.jsonl").exists() else 0


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stores(command: Starter, folders: dict[str, Path], port: int) -> list[Command]:
    return [command.store(folders[name], port) for name in ("mitte", "ost")]


LONG = ["--stores", "2", "--rounds", "6"]


def test_a_superlink_that_dies_while_it_makes_its_database_begins_with_another(
    command: Starter, out: Path, port: int
) -> None:
    server = command.server(out, port, *LONG)
    wait_for((out / "flower" / "state.db").exists)
    kill("flower-superlink", out)
    server.says("The server is up")
    server.interrupt()
    assert server.ends() == 130, server.text


@pytest.mark.parametrize("victim", ["flower-superlink", "server.door", "flower-superexec", "flwr-serverapp"])
def test_the_run_outlives_each_of_its_processes(
    command: Starter, stores: list[Command], out: Path, port: int, victim: str
) -> None:
    server = command.server(out, port, *LONG)
    server.says("round=2/6")
    kill(victim, out)
    assert server.ends() == 0, server.text
    assert [record["round"] for record in history(out)] == [1, 2, 3, 4, 5, 6]
    assert summary(out)["status"] == "finished"
    assert all(store.process.poll() is None for store in stores)
    assert processes_of(out) == []


def test_a_killed_launcher_leaves_nothing_and_its_run_is_resumed_to_the_same_model(
    command: Starter, stores: list[Command], out: Path, port: int
) -> None:
    """Also: stores stay through it, and find the new server by themselves."""
    whole = out.with_name("whole")
    assert command.server(whole, port, *LONG).ends() == 0
    server = command.server(out, port, *LONG)
    server.says("round=3/6")
    server.kill()
    wait_for(lambda: processes_of(out) == [], 20)
    assert 3 <= rounds_done(out) < 6
    resumed = command("flower-server", "start", "--out", out, "--port", str(port), "--resume", "--insecure")
    assert resumed.ends() == 0, resumed.text
    assert [record["round"] for record in history(out)] == [1, 2, 3, 4, 5, 6]
    assert summary(out)["weights_sha256"] == summary(whole)["weights_sha256"]
    for store in stores:
        assert store.text.count("Joined again.") >= 2


def test_ctrl_c_saves_and_stops_and_the_run_can_be_resumed(
    command: Starter, stores: list[Command], out: Path, port: int
) -> None:
    """Also with a quorum that one store alone makes, where the other has left for good."""
    server = command.server(out, port, *LONG)
    server.says("round=2/6")
    server.interrupt()
    assert server.ends() == 130
    assert (summary(out)["status"], (out / "model.safetensors").exists()) == ("stopped", True)
    assert 2 <= rounds_done(out) < 6
    assert processes_of(out) == []
    stores[0].kill()
    resume = ["--out", out, "--port", str(port), "--resume", "--insecure"]
    waiting = command("flower-server", "start", *resume)
    waiting.says("Waiting for stores: 1 of 2")
    waiting.process.terminate()
    assert waiting.ends() == 130, "one SIGTERM ends the wait for a quorum"
    assert "rounds done before are kept" in waiting.lines[-1]
    done = rounds_done(out)
    smaller = command("flower-server", "start", *resume, "--stores", "1")  # the store has left for good
    assert smaller.ends() == 0, smaller.text
    assert "Settings that hold from here on: cohort.min_stores 2 -> 1." in smaller.text
    assert rounds_done(out) == 6
    changed = [record.get("settings_changed") for record in history(out)]
    assert changed == [{"cohort.min_stores": [2, 1]} if number == done else None for number in range(6)]


def test_ctrl_c_twice_does_not_wait_for_the_round(
    command: Starter, folders: dict[str, Path], out: Path, port: int
) -> None:
    """Of a store whose policy allows a round that takes for ever."""
    home = Path(command.environment["FEDSHELF_HOME"]) / "stores" / "tireless"
    home.mkdir(parents=True)
    (home / "policy.toml").write_text("epochs_per_round = 100000\n")
    store = command.store(folders["mitte"], port, "tireless")
    server = command.server(out, port, "--rounds", "1000", "--epochs", "100000")
    store.says("Round 1 of 1000: training.")
    server.interrupt()
    server.says("Stopping after this round")
    server.interrupt()
    assert server.ends(30) == 130
    assert processes_of(out) == []


def test_ctrl_c_while_waiting_for_stores_ends_the_run(command: Starter, out: Path, port: int) -> None:
    server = command.server(out, port, *LONG)
    server.says("Waiting for stores: 0 of 2")
    server.interrupt()
    assert server.ends() == 130
    assert "nothing was trained" in server.lines[-1]
    assert processes_of(out) == []


def test_a_killed_store_is_left_out_and_may_come_back(
    command: Starter, stores: list[Command], folders: dict[str, Path], out: Path, port: int
) -> None:
    third = command.store(folders["süd 2"], port, "third")
    third.says("Waiting for the server")
    server = command.server(out, port, "--stores", "2", "--rounds", "60", "--set", "cohort.timeout=60")
    server.says("round=2/60")
    third.kill()
    done = rounds_done(out)
    wait_for(lambda: any("third" not in record["stores"] for record in history(out)[done:]), 90)
    again = command.store(folders["süd 2"], port, "third")
    again.says("trained on")
    server.interrupt()
    assert server.ends() == 130
    without = next(record for record in history(out)[done:] if "third" not in record["stores"])
    assert sorted(without["stores"]) == ["mitte", "ost"]
    # It died while it trained, or between two rounds: then it was not asked.
    assert without["failed"] in ({}, {"third": {"code": "unavailable", "reason": "lost the connection"}})
    assert len(stores) == 2


def test_a_store_with_an_unknown_class_fails_alone(
    command: Starter, stores: list[Command], tmp_path: Path, out: Path, port: int
) -> None:
    odd = command.store(draw_photos(tmp_path / "odd", ["boot", "teapot"]), port)
    for store in (odd, *stores):
        store.says("Waiting for the server")
    server = command.server(out, port, "--stores", "2", "--rounds", "2", "--classes", "boot,hat,shirt")
    assert server.ends() == 0, server.text
    for record in history(out):
        assert sorted(record["stores"]) == ["mitte", "ost"]
        assert record["failed"].get("odd", {"code": "unknown-class"})["code"] == "unknown-class"
    odd.says("teapot")
    assert "Traceback" not in odd.text


def test_photos_that_vanish_fail_one_round_at_that_store_only(
    command: Starter, stores: list[Command], tmp_path: Path, out: Path, port: int
) -> None:
    gone = draw_photos(tmp_path / "gone", ["boot", "hat"])
    lost = command.store(gone, port)
    lost.says("Waiting for the server")
    shutil.rmtree(gone)
    server = command.server(out, port, *LONG[:2], "--rounds", "1")
    assert server.ends() == 0, server.text
    assert "gone cannot take part: its images cannot be used" in server.text
    assert str(tmp_path / "gone") not in server.text
    assert len(stores) == 2


@pytest.mark.timeout(1300)  # a new process for each message: 20 s each on a busy machine
def test_our_store_and_flowers_own_supernode_speak_the_same(
    command: Starter, folders: dict[str, Path], out: Path, port: int
) -> None:
    """The contract of `client.fleet`: the stock SuperNode, running the same installed app, gives the same model."""
    folder, rounds = folders["mitte"], ["--stores", "1", "--rounds", "1", "--classes", "boot,hat"]
    ours = command.store(folder, port, "mitte")
    assert command.server(out, port, *rounds).ends() == 0
    ours.kill()
    node = ["--superlink", f"127.0.0.1:{port}", "--insecure", "--port", str(free_port())]
    config = f'store="mitte" data="{folder}"'
    path = os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "PATH": path}
    stock = Command(
        {**command.environment, **quiet, "FLWR_HOME": str(out.with_name("node"))},
        *["flower-supernode", *node, "--node-config", config],
    )
    command.started.append(stock)
    again = out.with_name("again")
    assert command.server(again, port, *rounds, "--wait", "240").ends(1000) == 0, stock.text
    assert summary(again)["weights_sha256"] == summary(out)["weights_sha256"]
