"""A whole training of real stores' workers on a Flower grid in this process."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.disclosure import OpenDisclosure
from fedshelf.client.policy.enforcement import PolicyEnforcer, PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.handler import make_app
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
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
    enforcer = PolicyEnforcer(policy, Usage(place / f"{name}-usage.json"))
    return PolicyWorker(worker, enforcer, OpenDisclosure(policy))


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
