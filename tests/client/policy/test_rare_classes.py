"""A class with fewer images than the policy's least has no part: nothing that leaves depends on its
photos.
"""

from pathlib import Path

import pytest
import torch

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.enforcement import PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import EvaluateOrder, Plan, StoreInfo, TrainOrder
from fedshelf.common.training.fit import Network
from tests.helpers.policy_store import folder, worker

CONFIG = resolve(
    {"data.image_size": 32, "model.name": "niid-cnn", "train.lr": 0.02, "train.batch_size": 4}
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))


def answers(
    worker: PolicyWorker, classes: tuple[str, ...], config: RunConfig = CONFIG
) -> list[object]:
    """All that leaves the store but for how long it took."""
    spec = ModelSpec("niid-cnn", classes, 32, 3, (0.5,) * 3, (0.5,) * 3)
    plan = Plan(f"run-{classes}", config, spec)
    start = Network(spec, torch.device("cpu"), seed=1).vector
    update = worker.train(TrainOrder(plan, 1, start))
    found: list[object] = [
        worker.info(config),
        update.params.tolist(),
        update.num_examples,
        update.loss,
        update.extras,
    ]
    for split in ("validation", "test"):
        counts = worker.evaluate(EvaluateOrder(plan, 1, start, split)).counts
        found += [
            counts.confusion.tolist(),
            counts.loss_sum,
            counts.undisclosed_correct,
            counts.undisclosed_wrong,
        ]
    return found


@pytest.mark.parametrize("classes", [("boot", "cap", "hat"), ("hat", "boot")])
def test_what_leaves_is_the_same_to_the_bit_with_and_without_photos_of_a_rare_class(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    policy = Policy(least_images_per_class=6)
    without, few, most = (
        answers(
            worker(folder(tmp_path / f"{rare}", rare), tmp_path / f"home-{rare}", policy), classes
        )
        for rare in (0, 2, 5)
    )
    assert without == few == most
    assert without[0] == StoreInfo("oslo", {"boot": 12, "hat": 12}, validation=12, test=12)


def test_a_class_takes_part_from_the_least_number_on(tmp_path: Path) -> None:
    store = worker(folder(tmp_path / "store", 6), tmp_path, Policy(least_images_per_class=6))
    info, _, examples, *_ = answers(store, ("boot", "cap", "hat"))
    assert info == StoreInfo("oslo", {"boot": 12, "cap": 6, "hat": 12}, validation=18, test=18)
    assert examples == 30


def test_each_split_is_counted_by_itself(tmp_path: Path) -> None:
    store = worker(folder(tmp_path / "store", 0), tmp_path, Policy(least_images_per_class=12))
    spec = ModelSpec("niid-cnn", ("boot", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3)
    plan = Plan("run", CONFIG, spec)
    start = Network(spec, torch.device("cpu"), seed=1).vector
    assert store.info(CONFIG) == StoreInfo("oslo", {"boot": 12, "hat": 12}, validation=0, test=0)
    assert store.train(TrainOrder(plan, 1, start)).num_examples == 24
    assert store.evaluate(EvaluateOrder(plan, 1, start)).counts.num_examples == 0


@pytest.mark.parametrize(
    ("policy", "code"),
    [(Policy(), "unknown-class"), (Policy(metrics="accuracy", class_names=False), "data")],
)
def test_a_class_that_the_run_has_not_is_named_at_most_in_the_stores_own_log(
    tmp_path: Path, policy: Policy, code: str
) -> None:
    with pytest.raises(StoreError, match="'cap' is not one of the run's 2 classes") as caught:
        answers(worker(folder(tmp_path / "store", 3), tmp_path, policy), ("boot", "hat"))
    assert (caught.value.code, caught.value.detail) == (code, "")
    assert caught.value.retry_after == 60  # others are waited for in the meantime
