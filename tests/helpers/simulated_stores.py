"""Small federations whose stores differ in size, and what an engine makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.protocol.messages import Failure, TrainOrder, Update
from fedshelf.common.tasks import TASKS
from fedshelf.server.training.setup import InitialState, prepare
from fedshelf.simulations.engines.batched.engine import BatchedEngine
from fedshelf.simulations.federation.federation import Federation

CLASSES = ("coat", "hat", "shoe")
CPU = torch.device("cpu")

# Relative, in float32. Where two pixels of a pooling window all but tie, rounding decides which one
# learns, and one seed in some ends further apart: so do two ways to compute one convolution. The
# seed is one without such a tie.
TOLERANCE = 1e-4


def settings(**changed: object) -> RunConfig:
    """Settings as keyword arguments, `train__lr` for train.lr; three epochs, with flips and
    crops.
    """
    usual: dict[str, Any] = {
        "data.flip": True, "data.crop": 2, "data.image_size": 16, "train.epochs": 3,
        "train.batch_size": 8, "train.lr": 0.01, "run.device": "cpu", "run.seed": 5,
        "run.rounds": 3,
    }  # fmt: skip
    return resolve(usual | {key.replace("__", "."): value for key, value in changed.items()})


def photos(count: int, size: int, seed: int = 0) -> Images:
    """Class k is a grey of its own with noise."""
    draws = np.random.default_rng(seed)
    labels = torch.arange(count) % len(CLASSES)
    pixels = torch.from_numpy(draws.integers(0, 80, (count, size, size, 3), dtype=np.uint8))
    return Images.whole(pixels + (labels * 80).to(torch.uint8).view(-1, 1, 1, 1), labels)


def federation(sizes: Sequence[int], size: int = 16) -> Federation:
    """Stores of these sizes out of one array, each with a few images held out, and a test set of
    50.
    """
    everything = photos(sum(sizes), size)
    stores = {}
    table = {}
    for number, rows in enumerate(
        torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(1)).split(sizes)
    ):
        held_out = photos(number, size, seed=number)
        stores[f"store-{number}"] = StoreData(everything.select(rows), held_out, held_out)
        table[f"store-{number}"] = [len(rows), 0, 0]
    return Federation(CLASSES, stores, photos(50, size, seed=99), table, "")


def start(config: RunConfig) -> InitialState:
    classes = TASKS[config.train.objective].classes or CLASSES
    return prepare(config, classes, 3).identified("run")


def order(begun: InitialState, round: int = 1, **parts: Any) -> TrainOrder:
    return TrainOrder(begun.plan, round, begun.params, **parts)


def trained(engine: Any, asked: TrainOrder, stores: Sequence[str]) -> dict[str, Update | Failure]:
    return {answer.store: answer for answer in engine.train(asked, stores)}


def batched(
    dealt: Federation, begun: InitialState, states: Path, devices: int = 1
) -> BatchedEngine:
    return BatchedEngine(dealt, begun, states, [CPU] * devices)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """||a - b|| / ||b||."""
    return float((one - other).norm() / other.norm())


def alone(dealt: Federation, config: RunConfig, states: Path) -> dict[str, Update]:
    """Each store by itself, as a real one."""
    begun = start(config)
    trainer = Trainer(CPU, StateStore(states))
    return {
        name: trainer.train(order(begun), name, data.train) for name, data in dealt.stores.items()
    }


def together(
    dealt: Federation, config: RunConfig, states: Path, devices: int = 1
) -> dict[str, Any]:
    begun = start(config)
    engine = batched(dealt, begun, states, devices)
    answers = trained(engine, order(begun), list(dealt.stores))
    engine.close()
    return answers


def same(found: dict[str, Any], expected: dict[str, Update], tolerance: float = TOLERANCE) -> bool:
    """Return whether the same stores have the same updates, but for rounding."""
    assert sorted(found) == sorted(expected)
    for name, update in expected.items():
        assert isinstance(found[name], Update), found[name]
        assert difference(found[name].params, update.params) <= tolerance, name
        assert found[name].loss == pytest.approx(update.loss, rel=1e-3)
        assert (found[name].num_examples, found[name].round) == (update.num_examples, update.round)
        assert found[name].extras.keys() == update.extras.keys()
    return True


class Remembering(strategies.Strategy):
    """As SCAFFOLD will be: stores keep a vector and a number, and the server sends a vector."""

    uses = frozenset({"weighting"})

    def on_train_begin(self, start: Tensor, extras, state) -> dict[str, Tensor]:
        pull = state.get("weight", torch.zeros((), device=start.device))
        return {
            "shift": extras["drift"] - state.get("own", torch.zeros_like(start)),
            "pull": pull,
            "start": start.clone(),
        }

    def correct_gradient(self, gradient: Tensor, weights: Tensor, local) -> None:
        gradient.add_(local["shift"]).add_(local["pull"] * (weights - local["start"]))

    def on_train_end(self, summary, local, state):
        own = (summary.start - summary.end) / (summary.steps * summary.lr)
        return {"change": own - local["shift"]}, {
            "own": own,
            "weight": torch.tensor(0.1 * summary.num_examples),
        }
