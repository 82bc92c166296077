"""Masked training tells which classes a store has; whoever keeps their names to itself does not train so."""

from pathlib import Path

import pytest
import torch

from client.policy import Policy
from common.config import resolve
from common.models.spec import ModelSpec
from common.orders import Plan, TrainOrder
from common.training import Network
from tests.client.test_rare_classes import folder, worker

MASKED = {"data.image_size": 32, "strategy.absent_classes": "mask", "train.batch_size": 4}
SPEC = ModelSpec("niid-cnn", ("boot", "cap", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("policy", "moved"),
    [
        (Policy(), [True, False, True]),
        (Policy(metrics="accuracy"), [True, False, True]),
        (Policy(metrics="accuracy", class_names=False), [True, True, True]),
    ],
)
def test_which_rows_move(policy: Policy, moved: list[bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    network = Network(SPEC, torch.device("cpu"), seed=1)
    store = worker(folder(tmp_path / "store", 0), tmp_path, policy)
    end = store.train(TrainOrder(Plan("run", resolve(MASKED), SPEC), 1, network.vector)).params
    for span in network.layout.rows():
        assert (end[span] != network.vector[span]).view(3, -1).any(dim=1).tolist() == moved
