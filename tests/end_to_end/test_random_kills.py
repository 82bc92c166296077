"""Processes of one run are killed at random moments, again and again; it goes on, and its history
is complete.

FEDSHELF_KILLS=50 python -m pytest -m slow tests/end_to_end/test_random_kills.py
"""

import os
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.helpers.deployed import Command, free_port, history, process_ids, summary, wait_for
from tests.helpers.deployment_fixtures import Starter

pytestmark = [
    pytest.mark.slow(minutes=3),
    pytest.mark.timeout(1800),
]

STORES = ("mitte", "ost")
KILLS = int(os.environ.get("FEDSHELF_KILLS", "4"))
# By a part of the command line: the server's processes, then a store's two.
VICTIMS = [
    "flower-superlink",
    "fedshelf.server.gateway.proxy",
    "flower-superexec",
    "flwr-serverapp",
    "fedshelf.server.credentials.registrar",
    "flower-server start",
    "flower-client join",
    "spawn_main",
]


class Supervisor:
    """Starts a command again whenever it dies of a signal, as systemd would."""

    def __init__(self, command: Starter, *arguments: str | Path) -> None:
        self.started: list[Command] = []
        self._start = lambda: command(*arguments)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.is_set():
            self.started.append(self._start())
            if self.started[-1].process.wait() >= 0:
                return

    @property
    def is_at_work(self) -> bool:
        """False once the command has ended by itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it as Ctrl-C does."""
        self._over.set()
        self.started[-1].interrupt()
        self._thread.join()

    @property
    def text(self) -> str:
        return "\n---\n".join(command.text for command in self.started)


def await_rounds(out: Path, more: int) -> None:
    done = len(history(out))
    wait_for(lambda: len(history(out)) >= done + more)


def test_a_run_outlives_kills_at_random_moments(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    chain = tmp_path / "chain"
    draw = random.Random(7)
    address = ["--host", "127.0.0.1", "--port", str(free_port())]
    assert (
        command(
            "flower-server", "provision", *address, "--stores", ",".join(STORES), "--out", chain
        ).ends()
        == 0
    )
    start = [
        "flower-server",
        "start",
        "--credentials",
        chain / "server",
        "--host",
        "127.0.0.1",
        "--stores",
        "2",
    ]
    start += ["--rounds", "100000", "--out", out]
    start += [
        "--model",
        "niid-cnn",
        "--lr",
        "0.02",
        "--set",
        "data.image_size=32",
        "--confirm-classes",
        "hat,shirt",
    ]
    join = ["flower-client", "join", "--data"]
    server = Supervisor(command, *start)
    stores = [
        Supervisor(command, *join, folders[name], "--kit", chain / "kits" / f"{name}.kit")
        for name in STORES
    ]
    killed: list[str] = []
    while len(killed) < KILLS:
        victim = draw.choice(VICTIMS)
        if pids := process_ids(victim, tmp_path):
            os.kill(draw.choice(pids), signal.SIGKILL)
            killed.append(victim)
            if len(killed) % 2 == 0:  # a server whose app dies four times in one round gives up
                await_rounds(out, 1)
        threading.Event().wait(draw.uniform(0.5, 8.0))  # a moment like any other
        for each in (server, *stores):
            assert each.is_at_work, each.text
    await_rounds(out, 2)
    for each in (server, *stores):
        each.stop()
    assert server.started[-1].process.returncode == 130, server.text
    assert summary(out)["status"] == "stopped"
    records = history(out)
    assert [record["round"] for record in records] == list(range(1, len(records) + 1))
    for record in records:
        assert sorted([*record["stores"], *record["failed"]]) == record["sampled"]
        assert len(record["stores"]) >= 2
    wait_for(lambda: not process_ids("", tmp_path))
