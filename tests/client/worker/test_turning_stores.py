"""A real store's photos without a class: told and trained on where turns are asked for, else left
where they are.
"""

from pathlib import Path

import pytest
import torch

from fedshelf.client.health.folder_summary import summarize_folder
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.models.spec import TURNS, ModelSpec
from fedshelf.common.protocol.messages import EvaluateOrder, Plan, TrainOrder
from fedshelf.common.training.fit import Network
from tests.helpers.deployed import draw_photos

CLASSES = resolve({"data.image_size": 32, "model.name": "niid-cnn", "train.batch_size": 8})
ASKED = resolve(
    {
        "data.image_size": 32,
        "model.name": "niid-cnn",
        "train.batch_size": 8,
        "train.objective": "turns",
    }
)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of ten photos, and forty without a class."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    draw_photos(tmp_path / "oslo", ["boot", "hat"], 10, 1)
    draw_photos(tmp_path / "oslo" / "unlabelled", ["a", "b"], 20, 2)
    return tmp_path / "oslo"


def held(source: FolderSource, config: RunConfig) -> int:
    info = source.describe(config)
    return info.num_examples + info.validation + info.test


def test_the_first_look_counts_them(photos: Path) -> None:
    assert summarize_folder(photos).startswith(
        "20 photos of 2 classes (boot 10, hat 10). 40 without a class"
    )


def test_a_store_tells_of_them_only_where_turns_are_asked_for(photos: Path) -> None:
    source = FolderSource("oslo", photos, Policy())
    assert (set(source.describe(CLASSES).counts), held(source, CLASSES)) == ({"boot", "hat"}, 20)
    assert (set(source.describe(ASKED).counts), held(source, ASKED)) == (set(TURNS), 60)


def test_a_rare_class_has_no_part_here_either(photos: Path) -> None:
    draw_photos(photos, ["cap"], 2, 3)
    assert held(FolderSource("oslo", photos, Policy()), ASKED) == 62
    assert held(FolderSource("oslo", photos, Policy(least_images_per_class=3)), ASKED) < 62


def test_a_store_without_any_class_trains_and_judges(photos: Path, tmp_path: Path) -> None:
    source = FolderSource("oslo", photos / "unlabelled" / "..", Policy(least_images_per_class=2))
    for name in ("boot", "hat"):
        for file in (photos / name).iterdir():
            file.unlink()
    spec = ModelSpec("niid-cnn", TURNS, 32, 3, (0.5,) * 3, (0.25,) * 3)
    plan = Plan("run", ASKED, spec)
    worker = StoreWorker(
        "oslo", source, Trainer(torch.device("cpu"), StateStore(tmp_path / "states"))
    )
    params = Network(spec, torch.device("cpu"), seed=1).vector.detach()
    update = worker.train(TrainOrder(plan, 1, params))
    assert update.num_examples == source.describe(ASKED).num_examples > 25
    assert not torch.equal(update.params, params)
    counted = worker.evaluate(EvaluateOrder(plan, 1, params))
    assert counted.counts.confusion.sum() == source.describe(ASKED).validation
