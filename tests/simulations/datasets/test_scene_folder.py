"""A folder of scenes as the data set of a simulation."""

from pathlib import Path

import pytest

from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.scenes.scene_classes import ANY_PRODUCT, SceneClasses
from fedshelf.simulations.federation.federation import build
from tests.helpers.dataset_loading import load, refusal
from tests.helpers.scene_files import masks_of_cvat, save_photo, save_text

ANY = SceneClasses(ANY_PRODUCT)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    for number in range(20):
        save_photo(tmp_path / f"images/{number}.png", 9 + number, 9)
        save_text(tmp_path / f"labels/{number}.txt", "0 0.5 0.5 0.5 0.5\n" * (number % 3))
    return tmp_path


def test_boxes_belong_to_the_rows_of_each_split(scenes: Path) -> None:
    dataset = load(scenes).annotated("boxes", ANY)
    assert dataset.validation is not None
    assert dataset.test is not None
    sizes = [len(images) for images in (dataset.train, dataset.validation, dataset.test)]
    assert sizes == [16, 2, 2]
    assert dataset.train.annotations is not None
    assert dataset.train.annotations.shape == (20, 1, 5)
    assert "13 boxes" in dataset.left_out or "6 drawn twice" in dataset.left_out


def test_what_it_does_not_have_is_one_sentence(scenes: Path) -> None:
    with pytest.raises(DataError, match="no masks"):
        load(scenes).annotated("masks", ANY)
    (scenes / "images").rename(scenes / "test")
    assert "no labels" in refusal(scenes)


def test_a_classifier_of_scenes_is_refused(scenes: Path) -> None:
    config = resolve({"data.dataset": str(scenes), "data.stores": 2})
    with pytest.raises(ConfigError, match="set it to boxes"):
        build(config, image_size=8, channels=3)


def test_boxes_have_the_places_of_the_classes_that_a_run_names(scenes: Path) -> None:
    save_text(scenes / "labels/1.txt", "1 0.5 0.5 0.5 0.5\n")
    save_text(scenes / "classes.txt", "can\nbottle\n")
    of_run = {"data.dataset": str(scenes), "train.objective": "boxes", "data.stores": 2}
    named = build(resolve(of_run | {"data.classes": ["bottle", "can"]}), image_size=8, channels=3)
    assert named.classes == ("bottle", "can")
    boxes = next(iter(named.stores.values())).train.annotations
    assert boxes is not None
    assert [
        int((boxes[..., :4].sum(-1)[boxes[..., 4] == place] > 0).sum()) for place in (0, 1)
    ] == [
        1,
        12,
    ]
    with pytest.raises(DataError, match="1 box of class 'bottle', which is none of the run's 1"):
        build(resolve(of_run | {"data.classes": ["can"]}), image_size=8, channels=3)


def test_masks_alone_are_a_data_set_and_a_store(tmp_path: Path) -> None:
    for store in ("oslo", "rome"):
        masks_of_cvat(tmp_path / store, 10)
    config = {"train.objective": "masks", "data.stores": 2, "data.partition": "iid"}
    one = build(
        resolve(config | {"data.dataset": str(tmp_path / "oslo")}), image_size=8, channels=3
    )
    several = resolve(config | {"data.dataset": str(tmp_path), "data.partition": "folder"})
    folders = build(several, image_size=8, channels=3)
    assert sorted(folders.stores) == ["oslo", "rome"]
    for federation in (one, folders):
        assert sum(len(store.train) for store in federation.stores.values()) % 8 == 0
        for store in federation.stores.values():
            assert store.train.annotations is not None
            assert store.train.annotations.unique().tolist() == [0, 1]
    boxes = resolve({"train.objective": "boxes", "data.dataset": str(tmp_path / "oslo")})
    with pytest.raises(DataError, match="has masks, but no boxes; set it to masks"):
        build(boxes, image_size=8, channels=3)
    boxes = resolve(
        {"train.objective": "boxes", "data.dataset": str(tmp_path), "data.partition": "folder"}
    )
    with pytest.raises(DataError, match=r"^Store oslo: .* boxes are missing"):
        build(boxes, image_size=8, channels=3)
