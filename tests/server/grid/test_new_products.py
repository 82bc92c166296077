"""Real stores teach a finished model a product that none of them had: messages, policies and all,
but no network.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.enforcement import PolicyEnforcer, PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.handler import make_app
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.worker import StoreWorker, Trainer
from fedshelf.common.config import resolve
from fedshelf.server.app import GridTraining
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.training.resume_model import adopt
from fedshelf.server.training.run import StopRequest
from tests.helpers.by_hand import Notes
from tests.helpers.deployed import LocalGrid, draw_photos

SETTINGS = {
    "train.lr": 0.02,
    "train.batch_size": 8,
    "train.epochs": 3,
    "run.rounds": 2,
    "cohort.min_stores": 2,
}
SETTINGS |= {"strategy.absent_classes": "mask"}
SPLITS = {"train": 12, "validation": 4, "test": 8}  # photos per class


def store(name: str, classes: tuple[str, ...], place: Path, policy: Policy) -> PolicyWorker:
    for seed, (split, count) in enumerate(SPLITS.items()):
        draw_photos(place / name / split, classes, count, seed)
    trainer = Trainer(torch.device("cpu"), StateStore(place / f"{name}-states"))
    worker = StoreWorker(name, FolderSource(name, place / name, policy), trainer)
    return PolicyWorker(worker, PolicyEnforcer(policy, Usage(place / f"{name}-usage.json")))


def trained(stores: list[PolicyWorker], out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    grid = LocalGrid()
    notes = Notes()
    for node, worker in enumerate(stores, start=10):
        grid.apps[node] = make_app(
            lambda _, worker=worker: worker, FrozenCache(out.parent / f"{out.name}-{node}")
        )
    config = resolve(adopt(settings), {"run.out": str(out)})
    with closing(RunDirectory.open(out, config)) as directory:
        training = GridTraining(config, directory, notes, lambda _: None, time.time(), len(stores))
        return training.run(grid, StopRequest(notes))


def test_a_finished_model_is_taught_a_new_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    small = SETTINGS | {"model.name": "niid-cnn", "data.image_size": 16}
    sold = {"oslo": ("boot", "hat"), "rome": ("hat",)}
    stores = [store(name, classes, tmp_path / "old", Policy()) for name, classes in sold.items()]
    was = trained(stores, tmp_path / "first", small)
    assert was["status"] == "finished"

    sold = {"oslo": ("boot", "hat"), "rome": ("boot", "hat", "mug"), "york": ("boot",)}
    # no matrix of its own, and no mask
    policies = {"york": Policy(metrics="accuracy", class_names=False)}
    stores = [
        store(name, sold[name], tmp_path / "new", policies.get(name, Policy())) for name in sold
    ]
    more = SETTINGS | {
        "model.resume_from": str(tmp_path / "first" / "model.safetensors"),
        "run.rounds": 4,
    }
    found = trained(stores, tmp_path / "second", more)
    # the old ones in their order, then what is new
    assert found["model"]["classes"] == ["boot", "hat", "mug"]
    old = found["old_classes"]
    assert (old["on"], old["new"], old["images"]) == ("stores", ["mug"], 32)  # of oslo and rome
    # nearly the same photos as before
    assert old["before"] == pytest.approx(was["test"]["accuracy"], abs=0.1)
    assert old["after"] > 0.9
    assert old["new_after"] > 0.9
    assert found["resumed_from"]["run_id"] == (tmp_path / "first" / "run-id").read_text()
