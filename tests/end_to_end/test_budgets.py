"""Budgets of bytes bind between a real server and real stores, counted on the link between them."""

import json
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest

from fedshelf.client.audit.verify import entries
from fedshelf.client.identity.home import store_home
from tests.helpers.deployed import draw_photos, free_port, history, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.link import Link

pytestmark = pytest.mark.slow(minutes=0.5)

MODEL = 4 * 2_000_000  # bytes at least, of mcmahan-cnn for photos of 32 pixels in three colours
BUDGET = 3_000_000  # bytes a day, less than one model


def spent(store: str) -> dict[str, int]:
    days: dict[str, dict[str, int]] = json.loads((store_home(store) / "usage.json").read_text())
    return days[datetime.now().date().isoformat()]


def test_a_message_that_a_budget_has_no_room_for_is_neither_fetched_nor_sent(
    command: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    port = free_port()
    out = tmp_path / "run"
    with ExitStack() as stack:
        links = {name: stack.enter_context(Link(port)) for name in ("rich", "poor", "mute")}
        (store_home("poor") / "policy.toml").write_text("megabytes_down_per_day = 3\n")
        (store_home("mute") / "policy.toml").write_text("megabytes_up_per_day = 3\n")
        for seed, (name, link) in enumerate(links.items()):
            command.store(
                draw_photos(tmp_path / name, ["boot", "hat"], per_class=12, seed=seed), link.port
            )
        settings = [
            "--stores",
            "3",
            "--rounds",
            "1000",
            "--model",
            "mcmahan-cnn",
            "--set",
            "cohort.min_stores=1",
        ]
        server = command.server(out, port, *settings)
        for name, key in (("poor", "megabytes-down-per-day"), ("mute", "megabytes-up-per-day")):
            server.says(f"{name} is left alone until 00:00: its policy does not allow it ({key}).")
        asked = command("flower-client", "status", "--name", "poor", "--json")
        assert asked.ends() == 0, asked.text
        told = json.loads(asked.text)
        assert (told["joined_to"], told["last_trained"]) == (
            f"127.0.0.1:{links['poor'].port}",
            None,
        )
        assert told["last_heard"]["kind"] in ("query", "probe")
        done = len(history(out))
        wait_for(lambda: len(history(out)) >= done + 2)
        server.interrupt()
        assert server.ends() == 130, server.text
        crossed = {name: (link.down, link.up) for name, link in links.items()}
    assert crossed["rich"][0] > 3 * MODEL
    assert crossed["rich"][1] > 3 * MODEL
    assert crossed["poor"][0] < BUDGET
    assert crossed["mute"][0] > MODEL
    assert crossed["mute"][1] < BUDGET
    assert spent("poor")["down"] < BUDGET
    assert spent("mute")["up"] < BUDGET
    assert (spent("poor")["trainings"], spent("mute")["trainings"]) == (0, 1)
    assert "died" not in server.text
    refused = [
        entry for entry in entries(store_home("poor") / "audit.jsonl") if entry.event == "refused"
    ]
    # whichever it joined in time for: either brings the model
    assert refused[0].kind in ("train", "evaluate")
    assert refused[0].why == "megabytes-down-per-day"
    assert refused[0].size > MODEL
