"""A folder of scenes as the data set of a simulation."""

from pathlib import Path

import pytest

from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.simulations.federation.federation import build
from tests.helpers.dataset_loading import load, refusal
from tests.helpers.scene_files import save_photo, save_text


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    for number in range(20):
        save_photo(tmp_path / f"images/{number}.png", 9 + number, 9)
        save_text(tmp_path / f"labels/{number}.txt", "0 0.5 0.5 0.5 0.5\n" * (number % 3))
    return tmp_path


def test_boxes_belong_to_the_rows_of_each_split(scenes: Path) -> None:
    dataset = load(scenes).annotated("boxes")
    assert dataset.validation is not None
    assert dataset.test is not None
    sizes = [len(images) for images in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [16, 2, 2]
    assert dataset.train.annotations is not None
    assert dataset.train.annotations.shape == (20, 1, 5)
    assert "13 boxes" in dataset.left_out or "6 drawn twice" in dataset.left_out


def test_what_it_does_not_have_is_one_sentence(scenes: Path) -> None:
    with pytest.raises(DataError, match="no masks"):
        load(scenes).annotated("masks")
    (scenes / "images").rename(scenes / "test")
    assert "no labels" in refusal(scenes)


def test_a_classifier_of_scenes_is_refused(scenes: Path) -> None:
    config = resolve({"data.dataset": str(scenes), "data.stores": 2})
    with pytest.raises(ConfigError, match="set it to boxes"):
        build(config, image_size=8, channels=3)
