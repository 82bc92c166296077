"""Stores that train on scenes at once, against stores trained alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.common.config import RunConfig
from fedshelf.common.images.types import StoreData
from fedshelf.common.tasks import TASKS
from fedshelf.server.training.setup import settle
from fedshelf.simulations.engines.batched.device_images import DeviceImages
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.simulated_stores import CPU, alone, same, settings, together
from tests.helpers.small_scenes import BOXES, SIDE, scenes

NETWORKS = {"boxes": "locator", "masks": "unet"}
SIZES = (13, 1, 6)  # batches of 4: a last one of one scene, one scene alone, a last one of two


def config_of(objective: str) -> RunConfig:
    """Flips and crops move the annotations; gradients are clipped for each store."""
    return settle(
        settings(
            train__objective=objective, model__name=NETWORKS[objective], train__epochs=2,
            train__batch_size=4, train__lr=0.01, train__clip_norm=5.0, data__image_size=SIDE,
        ), SIDE, 3,
    )  # fmt: skip


def with_own_arrays(objective: str) -> Federation:
    """Return stores whose scenes lie in arrays of their own; of boxes, each has its own padding."""
    opened = {}
    for number, size in enumerate(SIZES):
        images = scenes(size, objective, seed=number)
        if objective == "boxes":
            assert images.annotations is not None
            rows = torch.nn.functional.pad(images.annotations, (0, 0, 0, number))
            images = replace(images, annotations=rows)
        nothing = images.select(torch.arange(0))
        opened[f"store-{number}"] = StoreData(images, nothing, nothing)
    classes = TASKS[objective].classes
    table = {name: [len(data.train)] + [0] * (len(classes) - 1) for name, data in opened.items()}
    return Federation(classes, opened, scenes(3, objective), table, "")


@pytest.mark.parametrize("objective", NETWORKS)
def test_scenes_train_as_they_do_alone(objective: str, tmp_path: Path) -> None:
    config = config_of(objective)
    dealt = with_own_arrays(objective)
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


def test_joined_annotations_are_those_of_each_store() -> None:
    sets = [data.train for data in with_own_arrays("boxes").stores.values()]
    joined, starts = DeviceImages(CPU).join(sets)
    assert starts == [0, 13, 14]
    assert joined.learned.shape == (sum(SIZES), BOXES + 2, 5)
    for images, begin in zip(sets, starts, strict=True):
        own = joined.learned[begin : begin + len(images)]
        torch.testing.assert_close(own[:, : images.learned.shape[1]], images.learned)
        assert not own[:, images.learned.shape[1] :].any()
