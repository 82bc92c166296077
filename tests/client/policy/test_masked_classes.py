"""Masked training tells which classes a store has; whoever keeps their names to itself does not
train so.
"""

from pathlib import Path

import pytest
import torch

from fedshelf.client.policy.policy import Policy
from fedshelf.common.config import resolve
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan, TrainOrder
from fedshelf.common.training.fit import Network
from tests.helpers.policy_store import folder, worker

MASKED = {"data.image_size": 32, "strategy.absent_classes": "mask", "train.batch_size": 4}
SPEC = ModelSpec("niid-cnn", ("boot", "cap", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("policy", "is_masked"),
    [
        (Policy(), True),
        (Policy(metrics="accuracy"), True),
        (Policy(metrics="accuracy", class_names=False), False),
    ],
)
def test_who_trains_as_if_nothing_were_masked(
    policy: Policy, is_masked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    network = Network(SPEC, torch.device("cpu"), seed=1)
    store = worker(folder(tmp_path / "store", 0), tmp_path, policy)
    masked, plain = (
        store.train(TrainOrder(Plan("run", resolve(MASKED, told), SPEC), 1, network.vector)).params
        for told in ({}, {"strategy.absent_classes": "full"})
    )
    assert torch.equal(masked, plain) != is_masked
