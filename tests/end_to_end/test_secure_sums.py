"""Secure sums of real stores: equal to simulated ones, also if a process is killed at any step."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.helpers.deployed import Command, free_port, summary, wait_for
from tests.helpers.deployment_fixtures import QUICK, Starter

pytestmark = [pytest.mark.slow(minutes=2), pytest.mark.timeout(900)]

SUMMED = [
    "--rounds", "3", "--set", "run.seed=3", "--set", "privacy.secure_sum=true",
    # the last model is that of all rounds; the best one may be the first
    "--set", "cohort.min_stores=3", "--set", "run.deliver=last",
]  # fmt: skip
KILLED_ROUND = 2


class SummedRun:
    """A server and three stores with kits, whose run sums the stores' updates."""

    def __init__(
        self, command: Starter, folders: Mapping[str, Path], place: Path, strategy: str = "fedavg"
    ) -> None:
        self.settings = [*SUMMED, "--strategy", strategy]
        self.out = place / "run"
        self.homes = place / "state" / "stores"
        self._command = command
        self._folders = folders
        self._chain = place / "chain"
        self._port = free_port()
        made = command(
            "flower-server",
            "provision",
            *("--host", "localhost", "--port", str(self._port)),
            *("--stores", ",".join(folders), "--out", self._chain),
        )
        assert made.ends() == 0, made.text
        self.stores = {name: self._store(name) for name in folders}
        self.server = self._serve()

    def _store(self, name: str) -> Command:
        kit = self._chain / "kits" / f"{name}.kit"
        return self._command("flower-client", "join", "--kit", kit, "--data", self._folders[name])

    def _serve(self) -> Command:
        return self._command(
            "flower-server",
            "start",
            *("--credentials", self._chain / "server", "--out", self.out, "--live-port", "0"),
            *("--confirm-classes", "boot,hat,shirt"),
            *QUICK,
            *self.settings,
        )

    def kill_store(self, name: str) -> None:
        self.stores[name].kill()
        self.stores[name] = self._store(name)

    def kill_server(self) -> None:
        self.server.kill()
        self.server = self._serve()

    def memory(self, name: str) -> dict[str, Any]:
        """A store's memory of the attempt at the round in which it is killed; {} before."""
        for path in (self.homes / name / "secure-sums").glob("*.train.json"):
            for attempt in json.loads(path.read_bytes())["attempts"]:
                if attempt["round"] == KILLED_ROUND:
                    return dict(attempt)
        return {}

    def begun(self) -> int:
        """The round that the server has begun to sum last."""
        path = self.out / "secure-sums" / "train.json"
        return int(json.loads(path.read_bytes())["round"]) if path.exists() else 0

    def asked(self) -> int:
        """The round whose sum the server has asked for last."""
        path = self.out / "secure-sums" / "train.safetensors"
        if not path.exists():
            return 0
        with safe_open(path, framework="pt") as file:
            return int(json.loads(file.metadata()["state"])["round"])

    def sums_in_audit_log(self, name: str) -> int:
        told = self._command("flower-client", "audit", "--name", name, "--json")
        assert told.ends() == 0, told.text
        return told.text.count("shares that open a sum of 3 stores")


@pytest.fixture
def summed(command: Starter, folders: Mapping[str, Path], tmp_path: Path) -> SummedRun:
    return SummedRun(command, folders, tmp_path)


def ends_like_the_simulation(
    run: SummedRun, command: Starter, folders: Mapping[str, Path], place: Path
) -> None:
    assert run.server.ends() == 0, run.server.text
    stores = next(iter(folders.values())).parent
    simulated = command.simulated(place / "simulated", stores, *run.settings)
    assert summary(run.out)["weights_sha256"] == simulated["weights_sha256"]


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fednova"])
def test_real_stores_sum_as_simulated_ones(
    strategy: str, command: Starter, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    summed = SummedRun(command, folders, tmp_path, strategy)
    ends_like_the_simulation(summed, command, folders, tmp_path)
    for store in summed.stores.values():
        store.interrupt()
        store.ends()
    # three trainings; validation after each; one test
    assert summed.sums_in_audit_log("mitte") == 3 + 3 + 1


STEPS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "keys": bool,
    "shares": lambda memory: bool(memory.get("roster")),
    "train": lambda memory: bool(memory.get("vector")),
    "unmask": lambda memory: memory.get("survivors") is not None,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_store_that_is_killed_at_a_step_changes_nothing(
    step: str,
    summed: SummedRun,
    command: Starter,
    folders: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    wait_for(lambda: STEPS[step](summed.memory("ost")))
    summed.kill_store("ost")
    ends_like_the_simulation(summed, command, folders, tmp_path)


@pytest.mark.parametrize("step", ["begun", "asked"])
def test_a_server_that_is_killed_at_a_step_changes_nothing(
    step: str,
    summed: SummedRun,
    command: Starter,
    folders: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    reached = summed.begun if step == "begun" else summed.asked
    wait_for(lambda: reached() >= KILLED_ROUND)
    summed.kill_server()
    ends_like_the_simulation(summed, command, folders, tmp_path)
