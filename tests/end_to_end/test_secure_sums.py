"""Secure sums of real stores: equal to simulated ones, whichever process is killed at any step."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from fedshelf.client.identity.home import private_secret
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.config.sources import from_toml
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Failure,
    StoreInfo,
    Summand,
    SumTotal,
    TrainOrder,
)
from fedshelf.server.grid.runtime import for_stores
from fedshelf.server.results.model_export import weights_sha256
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.setup import prepare
from fedshelf.simulations.federation.plain_sums import plain_sum
from tests.helpers.by_hand import Notes
from tests.helpers.deployed import Command, free_port, history, process_ids, summary, wait_for
from tests.helpers.deployment_fixtures import QUICK, Starter

pytestmark = [pytest.mark.slow(minutes=3), pytest.mark.timeout(1800)]

# the last model is that of all rounds; the best one may be the first
SUMMED = [
    "--set", "run.seed=3", "--set", "privacy.secure_sum=true", "--set", "cohort.min_stores=3",
    "--set", "run.deliver=last",
]  # fmt: skip
KILLED_STORE = "ost"
SERVER = "flower-server start"
STORE = "flower-client join"
WORKER = "spawn_main"  # the process in which a store trains
SERVERS_CHILDREN = (
    "flower-superlink",
    "fedshelf.server.gateway.proxy",
    "fedshelf.server.credentials.registrar",
    "flower-superexec",
    "flwr-serverapp",
)
TRAINING_STEPS = ("train keys", "train shares", "train vector", "train asked")
JUDGING_STEPS = ("validation shares", "validation vector", "validation asked")
KILLS = [
    *(
        (step, victim)
        for step in TRAINING_STEPS
        for victim in (*SERVERS_CHILDREN, SERVER, STORE, WORKER)
    ),
    *((step, victim) for step in JUDGING_STEPS for victim in ("flwr-serverapp", STORE)),
    ("train opened", STORE),
    ("validation vector", "flower-superlink"),
    ("validation vector", SERVER),
]


class SummedRun:
    """A server and three stores with kits, whose run sums the stores' updates."""

    def __init__(
        self, command: Starter, folders: Mapping[str, Path], place: Path, rounds: int, *more: str
    ) -> None:
        self.settings = [*SUMMED, *more]
        self.rounds = rounds
        self.out = place / "run"
        self.homes = place / "state" / "stores"
        self.place = place
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
            *("--rounds", str(self.rounds)),
            *QUICK,
            *self.settings,
        )

    def kill(self, victim: str) -> None:
        """Kill a process of the run, and start it again if nothing else does."""
        if victim == SERVER:
            self.server.kill()
            self.server = self._serve()
        elif victim == STORE:
            self.stores[KILLED_STORE].kill()
            self.stores[KILLED_STORE] = self._store(KILLED_STORE)
        else:
            found = wait_for(lambda: process_ids(victim, self.place))
            os.kill(found[0], signal.SIGKILL)

    def reached(self, step: str) -> int:
        """The latest round in which a step of a sum was reached; 0 before the first."""
        purpose, what = step.split()
        if what == "asked":
            return self._asked(purpose)
        is_there = STORES_STEPS[what]
        attempts = [
            attempt
            for path in (self.homes / KILLED_STORE / "secure-sums").glob(f"*.{purpose}.json")
            for attempt in json.loads(path.read_bytes())["attempts"]
        ]
        return max((attempt["round"] for attempt in attempts if is_there(attempt)), default=0)

    def _asked(self, purpose: str) -> int:
        """The round whose sum the server has asked for last."""
        path = self.out / "secure-sums" / f"{purpose}.safetensors"
        if not path.exists():
            return 0
        with safe_open(path, framework="pt") as file:
            return int(json.loads(file.metadata()["state"])["round"])

    def sums_in_audit_log(self, name: str) -> int:
        told = self._command("flower-client", "audit", "--name", name, "--json")
        assert told.ends() == 0, told.text
        return told.text.count("shares that open a sum of 3 stores")


# by a store's memory of an attempt
STORES_STEPS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "keys": bool,
    "shares": lambda attempt: bool(attempt.get("roster")),
    "vector": lambda attempt: bool(attempt.get("vector")),
    "opened": lambda attempt: attempt.get("survivors") is not None,
}


@pytest.mark.parametrize(
    "settings",
    [
        ["--strategy", "scaffold"],
        ["--strategy", "fednova"],
        [
            *("--strategy", "fedadam", "--set", "strategy.server_lr=0.01"),
            *("--set", "messages.compression=int8", "--set", "strategy.absent_classes=weigh"),
        ],
    ],
    ids=lambda settings: settings[1],
)
def test_real_stores_sum_as_simulated_ones(
    settings: list[str], command: Starter, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    summed = SummedRun(command, folders, tmp_path, 3, *settings)
    assert summed.server.ends() == 0, summed.server.text
    assert weights(summed) == simulated_weights(summed, 3, command, folders)
    for store in summed.stores.values():
        store.interrupt()
        store.ends()
    # three trainings; validation after each; one test
    assert summed.sums_in_audit_log("mitte") == 3 + 3 + 1


def weights(run: SummedRun) -> str:
    """The hash of its model."""
    return str(summary(run.out)["weights_sha256"])


def simulated_weights(
    run: SummedRun, rounds: int, command: Starter, folders: Mapping[str, Path]
) -> str:
    """The hash of the model that a simulation of so many rounds has."""
    stores = next(iter(folders.values())).parent
    more = ["--rounds", str(rounds), *run.settings]
    return str(command.simulated(run.place / "simulated", stores, *more)["weights_sha256"])


def test_a_process_that_is_killed_at_a_step_changes_nothing(
    command: Starter, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    """One run is killed again and again, each time in another round: its model is that of a
    simulation that nothing interrupts.
    """
    run = SummedRun(command, folders, tmp_path, 1_000)
    killed_in = 1
    for step, victim in KILLS:
        killed_in = wait_for(partial(_later, run, step, killed_in))
        run.kill(victim)
    done = len(history(run.out))
    wait_for(lambda: len(history(run.out)) > done)
    run.server.interrupt()
    assert run.server.ends() == 130, run.server.text
    records = history(run.out)
    assert [record["round"] for record in records] == list(range(1, len(records) + 1))
    assert all(len(record["stores"]) == 3 for record in records)
    assert weights(run) == simulated_weights(run, len(records), command, folders)


def _later(run: SummedRun, step: str, before: int) -> int:
    """The round in which a step is reached, if it is later than another one; else 0."""
    assert run.server.process.poll() is None, run.server.text
    reached = run.reached(step)
    return reached if reached > before else 0


class TrainedHere:
    """The stores' trainings in this process, one after the other, with the secrets of real stores:
    a simulation that is told them.
    """

    def __init__(
        self, config: RunConfig, folders: Mapping[str, Path], homes: Path, states: Path
    ) -> None:
        self._config = config
        self._workers = {
            name: StoreWorker(
                name,
                FolderSource(name, folder, Policy()),
                Trainer(torch.device("cpu"), StateStore(states), private_secret(homes / name)),
            )
            for name, folder in folders.items()
        }

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[SumTotal | Failure]:
        told = replace(order, plan=replace(order.plan, config=for_stores(order.plan.config)))
        summands = (self._workers[name].train(told) for name in stores)
        return plain_sum(order.round, (each for each in summands if isinstance(each, Summand)))

    def stores(self) -> Mapping[str, StoreInfo]:
        return {name: worker.info(self._config) for name, worker in self._workers.items()}

    def exclude(self, store: str, why: str) -> None:
        raise AssertionError(f"{store}: {why}")

    def retry_after(self) -> float:
        return 0.0

    def held_back(self) -> Mapping[str, str]:
        return {}

    def prefetch_training(self, order: TrainOrder, stores: Sequence[str]) -> None:
        return None

    def evaluate(self, order: EvaluateOrder, stores: Sequence[str]) -> Iterator[Failure]:
        raise AssertionError("evaluations are left out by the settings")


def test_private_trainings_are_those_of_a_simulation_that_is_told_the_stores_secrets(
    command: Starter, folders: Mapping[str, Path], tmp_path: Path
) -> None:
    """Real stores train by DP-SGD, each with the noise of its own secret, and sum: to the bit."""
    private = {
        "privacy.clip": "1", "privacy.noise": "0.5", "privacy.rate": "0.5", "privacy.steps": "3",
        "strategy.absent_classes": "full", "evaluation.stores": "false",
    }  # fmt: skip
    more = [part for key, value in private.items() for part in ("--set", f"{key}={value}")]
    run = SummedRun(command, folders, tmp_path, 2, "--strategy", "fedprox", *more)
    assert run.server.ends() == 0, run.server.text
    config = resolve(from_toml(run.out / "config.toml"))
    begun = prepare(config, config.data.classes, 3).identified((run.out / "run-id").read_text())
    runtime = TrainedHere(config, folders, run.homes, tmp_path / "states")
    rounds = RoundLoop(begun.plan, begun.layout, runtime, Notes(), lambda: False)
    state = rounds.initial_state(begun.params)
    for _ in range(2):
        state, record = rounds.play(state)
        state = replace(state, record=record)
    assert weights_sha256(begun.plan, state) == weights(run)
