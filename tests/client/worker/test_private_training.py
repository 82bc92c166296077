"""Private training at a store: its own secret decides, and its own checks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.config import flatten, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import TrainOrder
from tests.helpers.simulated_stores import CPU, order, photos, settings, start

PRIVATE = {
    "train__epochs": 0, "train__batch_size": 0, "privacy__clip": 1.0, "privacy__noise": 1.0,
    "privacy__rate": 0.5, "privacy__steps": 2, "data__dataset": "stores", "model__name": "cnn",
}  # fmt: skip
SECRET = bytes(range(32))


@pytest.fixture(scope="module")
def asked() -> TrainOrder:
    return order(start(settings(**PRIVATE)))


def trained(
    asked: TrainOrder, states: Path, secret: bytes = SECRET, data: Images | None = None
) -> torch.Tensor:
    trainer = Trainer(CPU, StateStore(states), secret)
    return trainer.train(asked, "oslo", photos(20, 16) if data is None else data).params


def test_an_order_trained_again_gives_the_same_update(asked: TrainOrder, tmp_path: Path) -> None:
    """By another process, after a kill: nothing is left of the first but the secret."""
    first = trained(asked, tmp_path / "a")
    assert torch.equal(trained(replace(asked, committed=0, best=0), tmp_path / "b"), first)


def test_whatever_differs_has_other_noise(asked: TrainOrder, tmp_path: Path) -> None:
    """With the same noise, one photo would move a step by lr clip / (rate n) = 0.001 at most."""
    first = trained(asked, tmp_path)
    others = {
        "secret": trained(asked, tmp_path, bytes(32)),
        "round": trained(replace(asked, round=2), tmp_path),
        "one photo less": trained(asked, tmp_path, data=photos(20, 16).select(torch.arange(19))),
        "weights": trained(replace(asked, params=asked.params * (1 + 1e-6)), tmp_path),
    }
    distances = {what: float((other - first).norm()) for what, other in others.items()}
    assert min(distances.values()) > 0.1, distances


@pytest.mark.parametrize("key", ["data.mixup", "train.seconds", "train.clip_norm"])
def test_a_store_refuses_what_its_server_should_have(
    asked: TrainOrder, tmp_path: Path, key: str
) -> None:
    config = resolve(flatten(asked.plan.config), {key: 0.5})
    wrong = replace(asked, plan=replace(asked.plan, config=config))
    with pytest.raises(ConfigError, match=rf"privacy\.clip got 1 with {key} 0\.5"):
        trained(wrong, tmp_path)


def test_a_store_without_a_secret_does_not_train(asked: TrainOrder, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a secret of its own"):
        Trainer(CPU, StateStore(tmp_path)).train(asked, "oslo", photos(20, 16))
