"""What every registered strategy keeps wherever it runs: one seed gives one result, and a run that was cut goes on."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from client.app import answer
from client.frozen import FrozenCache
from client.states import StateStore
from client.work import StoreWorker, Trainer
from common import strategies
from common.config import RunConfig
from common.errors import ConfigError
from common.messages import decode_result, encode_order
from common.orders import EvaluateOrder, Failure, Plan, StoreInfo, TrainOrder, Update
from server.checkpoints import Checkpoints, State
from server.rounds import Rounds
from simulations.engines.sequential import SequentialEngine
from simulations.federation import Federation
from tests.server.by_hand import Notes
from tests.simulations.stores import CPU, batched, difference, federation, settings, start

ROUNDS, SIZES = 4, (13, 6, 30, 9)
EVERY = pytest.mark.parametrize("name", strategies.STRATEGIES)


def config_of(name: str, **changed: object) -> RunConfig:
    """Three of the four stores a round, two epochs, cosine steps with momentum."""
    usual = {
        "model__name": "cnn", "train__epochs": 2, "run__rounds": ROUNDS, "run__workers": 1, "strategy__name": name,
        "cohort__fraction": 0.75, "train__schedule": "cosine",
    }  # fmt: skip
    return settings(**usual | changed)


class Posted:
    """A runtime whose orders and answers travel as messages, to stores that keep their state on disk."""

    def __init__(self, dealt: Federation, states: Path) -> None:
        self._dealt, self._frozen = dealt, FrozenCache()
        kept = StateStore(states)
        self._workers = {name: StoreWorker(name, Dealt(dealt, name), Trainer(CPU, kept)) for name in dealt.stores}

    def stores(self) -> Mapping[str, StoreInfo]:
        return self._dealt.infos()

    def resting(self) -> float:
        return 0.0

    def set_aside(self, store: str, why: str) -> None:
        raise AssertionError(why)

    def expect(self, order: TrainOrder, stores: Sequence[str]) -> None:
        """Nothing."""

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        for name in reversed(stores):
            yield decode_result(answer(self._workers[name], encode_order(order), self._frozen), order)

    def evaluate(self, order: EvaluateOrder, stores: Sequence[str]) -> Iterator[Any]:
        for name in stores:
            yield decode_result(answer(self._workers[name], encode_order(order), self._frozen), order)


class Dealt:
    """One store's images."""

    def __init__(self, dealt: Federation, name: str) -> None:
        self._dealt, self._name = dealt, name

    def open(self, plan: Plan) -> Any:
        return self._dealt.stores[self._name]


def played(runtime: Any, config: RunConfig, state: State | None = None, until: int = ROUNDS) -> State:
    """Rounds up to `until`, from the beginning or from `state`."""
    begun = start(config)
    rounds = Rounds(begun.plan, begun.layout, runtime, None, Notes(), lambda: False)
    state = state or rounds.begin(begun.params)
    while state.round < until:
        state, _ = rounds.play(state)
    return state


def sequential(dealt: Federation, config: RunConfig, states: Path) -> SequentialEngine:
    return SequentialEngine(dealt, start(config), states)


def identical(one: State, other: State) -> bool:
    assert one.strategy.keys() == other.strategy.keys()
    assert torch.equal(one.params, other.params)
    assert torch.equal(one.model, other.model)
    return all(torch.equal(tensor, other.strategy[key]) for key, tensor in one.strategy.items())


@EVERY
def test_a_run_cut_off_goes_on_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    """It ends in round 4, after stores have trained, and goes on from the checkpoint of round 2 in a new process."""
    goes_on(config_of(name), tmp_path)


@pytest.mark.parametrize("name", ["scaffold", "fednova"])
def test_stores_that_have_no_time_and_a_mean_of_models_go_on_too(name: str, tmp_path: Path) -> None:
    """One step a round each, the one case in which a limit of time leaves the result to nobody's clock."""
    goes_on(config_of(name, train__seconds=1e-9, strategy__average="ema"), tmp_path)


def goes_on(config: RunConfig, tmp_path: Path) -> None:
    dealt = federation(SIZES)
    whole = played(sequential(dealt, config, tmp_path / "a"), config)
    checkpoints = Checkpoints(tmp_path, keep=2)
    state = checkpoints.save(played(sequential(dealt, config, tmp_path / "b"), config, until=2))
    played(sequential(dealt, config, tmp_path / "b"), config, state, until=4)
    resumed = played(sequential(dealt, config, tmp_path / "b"), config, checkpoints.load(2))
    assert identical(resumed, whole)
    assert not torch.equal(whole.params, state.params)


@EVERY
def test_messages_carry_all_of_it(name: str, tmp_path: Path) -> None:
    dealt, config = federation(SIZES), config_of(name)
    here = played(sequential(dealt, config, tmp_path / "a"), config)
    assert identical(played(Posted(dealt, tmp_path / "b"), config), here)


@EVERY
def test_stores_that_train_together_do_so_as_alone(name: str, tmp_path: Path) -> None:
    """Rounding in another order is all that differs; or the engine says why it cannot."""
    dealt, config = federation(SIZES), config_of(name)
    if strategies.build(config.strategy, start(config).layout).personal():
        with pytest.raises(ConfigError, match=f"{name} keeps parts of the model at the stores.*--engine sequential"):
            batched(dealt, start(config), tmp_path)
        return
    alone = played(sequential(dealt, config, tmp_path / "a"), config, until=3)
    together = played(batched(dealt, start(config), tmp_path / "b"), config, until=3)
    assert difference(together.params, alone.params) < 1e-3
    for key, tensor in alone.strategy.items():
        assert difference(together.strategy[key].float(), tensor.float()) < 2e-2 or not tensor.any(), key
