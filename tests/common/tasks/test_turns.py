"""Photos that are told by their turns: what is turned how, what counts, and that nothing else
changes.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.photo_folder import PhotoFolder, open_folder
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import TURNS
from fedshelf.common.tasks import TASKS
from fedshelf.common.tasks.turns import (
    as_rotation_task,
    label_with_turns,
    rotate,
)
from tests.helpers.photo_files import noise, save, store


def opened(path: Path, *, unlabelled: bool = True) -> PhotoFolder:
    return open_folder(path, image_size=8, channels=3, unlabelled=unlabelled)


def sizes(folder: PhotoFolder) -> int:
    return sum(map(len, folder.splits.values()))


def test_a_quarter_turn_by_hand() -> None:
    """1 2    2 4    4 3    3 1
    3 4    1 3    2 1    4 2"""
    photo = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)[None, :, :, None]
    found = rotate(photo.repeat(4, 1, 1, 1), torch.arange(4)).flatten(1).tolist()
    assert found == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    assert photo.flatten().tolist() == [1, 2, 3, 4]


@given(turns=draw.lists(draw.integers(0, 3), min_size=1, max_size=9), seed=draw.integers(0, 99))
def test_turning_back_gives_the_same_photos(turns: list[int], seed: int) -> None:
    pixels = torch.from_numpy(
        np.random.default_rng(seed).integers(256, size=(len(turns), 5, 5, 3), dtype=np.uint8)
    )
    there = torch.tensor(turns)
    assert torch.equal(rotate(rotate(pixels, there), (4 - there) % 4), pixels)


def test_a_batch_is_turned_as_its_new_targets_say() -> None:
    pixels = torch.randint(256, (400, 4, 4, 3), dtype=torch.uint8)
    generator = np.random.default_rng(3)
    pose = TASKS["turns"].vary
    turned, targets = pose(pixels, torch.zeros(400, dtype=torch.int64), generator)
    assert torch.equal(turned, rotate(pixels, targets))
    assert (targets.bincount(minlength=4) > 60).all()
    assert torch.equal(TASKS["turns"].posed(pixels, targets), turned)


def test_where_classes_are_told_nothing_is_turned() -> None:
    pixels = torch.rand(3, 4, 4, 3)
    targets = torch.tensor([2, 0, 1])
    generator = np.random.default_rng(3)
    before = generator.bit_generator.state
    same, unchanged = TASKS["classes"].vary(pixels, targets, generator)
    assert same is pixels
    assert unchanged is targets
    assert TASKS["classes"].posed(pixels, targets) is pixels
    assert generator.bit_generator.state == before


def test_labels_are_the_four_turns_in_equal_parts() -> None:
    images = Images.whole(torch.zeros(10, 2, 2, 3, dtype=torch.uint8), torch.full((10,), 7))
    assert label_with_turns(images.select(torch.tensor([1, 5, 6]))).targets().tolist() == [1, 1, 2]


class TestUnlabelled:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = store(tmp_path / "store", {"hat": 20, "shoe": 20})
        for number in range(50):
            save(root / "unlabelled" / f"{number % 3}" / f"{number}.png", noise(1000 + number))
        return root

    def test_they_are_no_class_and_not_opened_unless_asked_for(self, root: Path) -> None:
        folder = opened(root, unlabelled=False)
        assert folder.classes == ("hat", "shoe")
        assert sizes(folder) == 40
        assert folder.left_out == ()
        assert sum(map(len, folder.unlabelled.values())) == 0
        assert folder.unopened_photos == 50
        assert "50 photos without a class not used" in folder.summary()

    def test_asked_for_they_lie_beside_the_classes(self, root: Path) -> None:
        alone = opened(root, unlabelled=False)
        folder = opened(root)
        assert sum(map(len, folder.unlabelled.values())) == 50
        assert "40 images in 2 classes" in folder.summary()
        assert "50 images without a class" in folder.summary()
        for split, images in folder.splits.items():
            assert torch.equal(
                images.inputs[images.rows], alone.splits[split].inputs[alone.splits[split].rows]
            )
            assert torch.equal(images.targets(), alone.splits[split].targets())

    def test_all_are_told_by_their_turns_each_in_its_own_split(self, root: Path) -> None:
        folder = opened(root)
        turned = as_rotation_task(folder)
        assert turned.classes == TURNS
        assert sizes(turned) == 90
        for split, images in turned.splits.items():
            own = set(folder.splits[split].rows.tolist()) | set(
                folder.unlabelled[split].rows.tolist()
            )
            assert set(images.rows.tolist()) == own
        assert torch.cat(
            [images.targets() for images in turned.splits.values()]
        ).bincount().tolist() == [
            23,
            23,
            22,
            22,
        ]

    def test_beside_splits_and_in_american_spelling(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        for number, name in enumerate(["train/hat/1", "train/shoe/2", "test/hat/3", "Unlabeled/4"]):
            save(root / f"{name}.png", noise(number))
        folder = opened(root)
        assert folder.classes == ("hat", "shoe")
        assert sizes(folder) == 3
        assert sum(map(len, folder.unlabelled.values())) == 1

    def test_a_store_may_have_nothing_else(self, tmp_path: Path) -> None:
        for number in range(3):
            save(tmp_path / "store" / "unlabelled" / f"{number}.png", noise(number))
        folder = opened(tmp_path / "store")
        assert folder.classes == ()
        assert sizes(as_rotation_task(folder)) == 3
        with pytest.raises(DataError, match=r"No usable image .* found 3 photos without a class"):
            opened(tmp_path / "store", unlabelled=False)
