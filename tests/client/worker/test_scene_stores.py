"""A real store's photos of scenes: counted, trained on and judged where boxes are asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker.data import FolderSource
from fedshelf.common.config import flatten, resolve
from fedshelf.common.errors import DataError
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan
from tests.helpers.scene_files import (
    annotation,
    coco_file,
    image,
    masks_of_cvat,
    save_photo,
    save_text,
)

BOXES = resolve({"data.image_size": 32, "model.name": "locator", "train.objective": "boxes"})
SPEC = ModelSpec("locator", ("product",), 32, 3, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten scenes with one box each, at places of their own."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    for number in range(10):
        save_photo(tmp_path / f"oslo/images/{number}.png", 32 + number, 32)
        save_text(tmp_path / f"oslo/labels/{number}.txt", f"0 0.5 0.5 0.{number + 10} 0.5\n")
    return tmp_path / "oslo"


def test_a_store_gives_its_photos_with_their_boxes(photos: Path) -> None:
    source = FolderSource("oslo", photos, Policy())
    info = source.describe(BOXES)
    assert (info.counts, info.validation, info.test) == ({"product": 8}, 1, 1)
    opened = source.open(Plan("run", BOXES, SPEC))
    pixels, boxes = opened.train.batch(torch.arange(8))
    assert (pixels.shape, boxes.shape) == ((8, 32, 32, 3), (8, 1, 5))
    np.testing.assert_allclose(boxes[:, 0, 3] - boxes[:, 0, 1], 16)


def test_a_new_label_counts_with_the_next_order(photos: Path) -> None:
    source = FolderSource("oslo", photos, Policy())
    save_photo(photos / "images/new.png", 50, 32)
    assert source.describe(BOXES).num_examples + 2 == 10
    save_text(photos / "labels/new.txt", "")
    info = source.describe(BOXES)
    assert info.num_examples + info.validation + info.test == 11


def test_a_coco_file_is_watched_with_its_photos(photos: Path) -> None:
    """A photo that is gone is not used any more, and a new label counts."""
    entries = [image(number, f"{number}.png", 32 + number, 32) for number in range(10)]
    boxes = [annotation(number, [1, 1, 20, 20]) for number in range(10)]
    file = coco_file(photos / "labels.json", entries[:9], boxes[:9])
    source = FolderSource("oslo", file, Policy())

    def used() -> int:
        info = source.describe(BOXES)
        return info.num_examples + info.validation + info.test

    assert used() == 9
    plan = Plan("run", BOXES, SPEC)
    assert len(source.open(plan).train) == source.describe(BOXES).num_examples
    (photos / "images/0.png").unlink()
    (photos / "images/1.png").unlink()
    assert used() == 7
    coco_file(file, entries, boxes)
    assert used() == 8
    opened = source.open(plan)
    assert len(opened.train) + len(opened.validation) + len(opened.test) == 8


def test_photos_of_single_products_are_refused(photos: Path) -> None:
    save_photo(photos.parent / "rome/boot/1.png")
    with pytest.raises(DataError, match="no labels of boxes"):
        FolderSource("rome", photos.parent / "rome", Policy()).describe(BOXES)


def test_a_class_that_the_run_does_not_know_stops_the_store_which_tells_no_name(
    photos: Path,
) -> None:
    """The name stays in the store's own log, and in the code if its policy tells no names."""
    save_text(photos / "classes.txt", "can\n")
    named = resolve(flatten(BOXES), {"data.classes": ["bottle", "tube"]})
    for policy, code in (
        (Policy(), "unknown-class"),
        (Policy(class_names=False, metrics="accuracy"), "data"),
    ):
        with pytest.raises(StoreError, match="10 boxes of class 'can'") as refused:
            FolderSource("oslo", photos, policy).describe(named)
        assert (refused.value.code, refused.value.detail) == (code, "")


def test_a_store_of_masks_alone_trains_on_masks_and_not_on_boxes(photos: Path) -> None:
    rome = photos.parent / "rome"
    masks_of_cvat(rome, 10)
    source = FolderSource("rome", rome, Policy())
    masks = resolve({"data.image_size": 32, "model.name": "unet", "train.objective": "masks"})
    assert source.describe(masks).num_examples == 8
    spec = ModelSpec("unet", ("background", "product"), 32, 3, (0.5,) * 3, (0.25,) * 3)
    _, targets = source.open(Plan("run", masks, spec)).train.batch(torch.arange(8))
    assert targets.float().mean().item() == 0.75
    with pytest.raises(DataError, match="boxes are missing"):
        source.describe(BOXES)
