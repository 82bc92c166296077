"""Trainings on the device and on the CPU that `benchmarks.gpu_check` compares."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.protocol.messages import TrainOrder, Update
from fedshelf.server.training.setup import InitialState, prepare, settle
from fedshelf.simulations import datasets
from fedshelf.simulations.engines.batched.engine import BatchedEngine
from fedshelf.simulations.federation.federation import Federation, build


@dataclasses.dataclass(frozen=True)
class Bench:
    """The settings that the checks share.

    Attributes:
        device: the device that is checked
        small: True if a CPU stands in for the device, so that there is less work
        folder: a temporary folder
    """

    device: torch.device
    small: bool
    folder: Path

    def partition(self, **changed: Any) -> tuple[InitialState, Federation]:
        """Deal `shelf` to four stores, the smallest of which has a single image.

        Args:
            **changed: settings that differ from the usual ones

        Returns:
            The state in which a run starts, and the stores.
        """
        default_settings = {
            "data.dataset": "shelf", "data.stores": 4, "data.partition": "iid",
            "data.image_size": 32, "model.name": "niid-cnn", "train.epochs": 1,
            "train.batch_size": 8, "train.lr": 0.01, "run.rounds": 3,
            "run.device": str(self.device),
        }  # fmt: skip
        config = resolve(
            default_settings | {key.replace("__", "."): value for key, value in changed.items()}
        )
        config = settle(config, datasets.find(config.data).native_size, 3)
        federation = build(config, image_size=config.data.image_size, channels=3)
        size = 9 if self.small else 90
        stores = {
            name: dataclasses.replace(
                store, train=store.train.select(torch.arange(size * position + 1))
            )
            for position, (name, store) in enumerate(federation.stores.items())
        }
        federation = dataclasses.replace(federation, stores=stores)
        return prepare(config, federation.classes, 3).identified("check"), federation

    def states(self) -> Path:
        """Return a new folder for the states of strategies."""
        return Path(tempfile.mkdtemp(dir=self.folder))


def alone(
    start: InitialState, federation: Federation, device: torch.device, bench: Bench
) -> dict[str, Tensor]:
    """Train each store for two rounds by itself on `device`.

    Returns:
        Store -> weights, float32 [P], on the CPU.
    """
    trainer = Trainer(device, StateStore(bench.states()))
    return {
        name: [trainer.train(order, name, store.train) for order in orders(start)][-1].params.cpu()
        for name, store in federation.stores.items()
        if len(store.train)
    }


def together(start: InitialState, federation: Federation, bench: Bench) -> dict[str, Tensor]:
    """Train all stores at once on the device for two rounds.

    Returns:
        Store -> weights, float32 [P], on the CPU.
    """
    engine = BatchedEngine(federation, start, bench.states(), [bench.device])
    try:
        answers = [list(engine.train(order, list(federation.stores))) for order in orders(start)][
            -1
        ]
        return {
            answer.store: answer.params.cpu().clone()
            for answer in answers
            if isinstance(answer, Update)
        }
    finally:
        engine.close()


def orders(start: InitialState) -> list[TrainOrder]:
    """Return the orders of two rounds that start from the same model.

    Strategies begin with zeros as their extra tensors.
    """
    config: RunConfig = start.plan.config
    strategy = strategies.build(config.strategy, start.layout)
    extras = strategy.extras(strategy.init_server_state(start.params, start.layout.trainable))
    return [TrainOrder(start.plan, number, start.params, extras, number - 1) for number in (1, 2)]


def distance(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Return the largest ||a - b|| / ||b|| over stores."""
    assert weights.keys() == expected.keys(), (weights.keys(), expected.keys())
    return max(relative(weights[name], expected[name]) for name in expected)


def relative(one: Tensor, other: Tensor) -> float:
    """Return ||a - b|| / ||b||."""
    return float((one - other).norm() / other.norm())


def synchronise(device: torch.device) -> None:
    """Wait until a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
