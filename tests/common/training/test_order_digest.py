from dataclasses import replace

import pytest
import torch

from fedshelf.common.config import flatten, resolve
from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.training.order_digest import order_digest, training_digest
from tests.helpers.small_plan import PLAN

PARAMS = torch.arange(4.0)
ORDER = TrainOrder(PLAN, 1, PARAMS, {"control": torch.ones(4)})
NOISIER = resolve(
    {"data.image_size": 16, "model.name": "niid-cnn", "train.batch_size": 8, "privacy.noise": 2}
)
LONGER = resolve(flatten(PLAN.config), {"run.rounds": 77})
PIXELS = torch.arange(5 * 2 * 2 * 3, dtype=torch.uint8).reshape(5, 2, 2, 3)
IMAGES = Images.whole(PIXELS, torch.tensor([0, 1, 0, 1, 0]))


def test_an_order_sent_again_has_the_same_digest() -> None:
    again = replace(ORDER, params=PARAMS.clone(), committed=3, best=2)
    assert order_digest(again) == order_digest(ORDER)


@pytest.mark.parametrize("key", ["run.workers", "run.seed", "cohort.min_stores"])
def test_settings_that_no_training_reads_change_nothing(key: str) -> None:
    """So a simulation has one result, with any engine, and an order of another run costs nothing
    if it is the same training.
    """
    config = resolve(flatten(PLAN.config), {key: 2})
    assert config != PLAN.config
    again = replace(ORDER, plan=replace(PLAN, run_id="other", config=config))
    assert order_digest(again) == order_digest(ORDER)


@pytest.mark.parametrize(
    "other",
    [
        replace(ORDER, round=2),
        replace(ORDER, params=PARAMS + 1e-6),
        replace(ORDER, extras={}),
        replace(ORDER, extras={"control": torch.full((4,), 2.0)}),
        replace(
            ORDER, plan=replace(PLAN, config=resolve(flatten(PLAN.config), {"run.rounds": 77}))
        ),
        replace(ORDER, plan=replace(PLAN, config=NOISIER)),
        replace(ORDER, plan=replace(PLAN, spec=replace(PLAN.spec, classes=("boot", "cap")))),
        replace(ORDER, plan=replace(PLAN, frozen=torch.zeros(2))),
    ],
    ids=["round", "params", "no extras", "extras", "rounds", "config", "classes", "frozen"],
)
def test_orders_that_differ_have_other_digests(other: TrainOrder) -> None:
    assert order_digest(other) != order_digest(ORDER)


def test_a_training_is_the_same_only_on_the_same_photos_and_state() -> None:
    """Else two trainings would share their noise, and their difference would be without any."""
    state = {"control": torch.ones(4)}
    digests = {
        training_digest("order", state, IMAGES),
        training_digest("another order", state, IMAGES),
        training_digest("order", {}, IMAGES),
        training_digest("order", {"control": torch.zeros(4)}, IMAGES),
        training_digest("order", state, IMAGES.select(torch.tensor([0, 1, 2, 3]))),
        training_digest("order", state, IMAGES.select(torch.tensor([1, 0, 2, 3, 4]))),
        training_digest("order", state, IMAGES.relabel([1, 0])),
        training_digest("order", state, replace(IMAGES, inputs=PIXELS + 1)),
    }
    assert len(digests) == 8


def test_photos_are_told_by_content_not_by_place() -> None:
    copied = Images.whole(PIXELS[2:].clone(), IMAGES.labels[2:].clone())
    chosen = IMAGES.select(torch.tensor([2, 3, 4]))
    assert training_digest("order", {}, chosen) == training_digest("order", {}, copied)
