"""A store's photos, a few of them of a rare class, and its worker behind a policy."""

from pathlib import Path

import torch

from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.disclosure import OpenDisclosure
from fedshelf.client.policy.enforcement import PolicyEnforcer, PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from tests.helpers.deployed import draw_photos

SPLITS = {"train": 12, "validation": 6, "test": 6}  # photos per common class


def folder(place: Path, rare: int, rare_class: str = "cap") -> Path:
    """Photos of boots and hats, and `rare` ones of another class in each split."""
    for seed, (split, common) in enumerate(SPLITS.items()):
        draw_photos(place / split, ["boot", "hat"], common, seed)
        if rare:
            draw_photos(place / split, [rare_class], rare, seed + 10)
    return place


def worker(data: Path, home: Path, policy: Policy) -> PolicyWorker:
    trainer = Trainer(torch.device("cpu"), StateStore(home / "states"))
    return PolicyWorker(
        StoreWorker("oslo", FolderSource("oslo", data, policy), trainer),
        PolicyEnforcer(policy, Usage(home / "usage.json")),
        OpenDisclosure(policy),
    )
