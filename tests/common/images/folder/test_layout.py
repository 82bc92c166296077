"""Folders as people have them: which are read, and which are refused because they could be read in
two ways.
"""

from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.photo_folder import FolderOptions, PhotoFolder, open_folder
from fedshelf.common.images.folder.scan import scan
from tests.helpers.photo_files import noise, save, store

ITEMS = {"hat": 3, "shirt": 2}


def flat(folder: Path, photos: int) -> None:
    """Photos directly in a folder."""
    for number in range(photos):
        save(folder / f"{number}.png", noise(900 + number))


def opened(path: Path, *classes: str) -> PhotoFolder:
    return open_folder(path, image_size=8, channels=3, options=FolderOptions(classes=classes))


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        scan(path)
    return str(error.value).removeprefix(str(path))


def test_flat_test_photos_beside_train_with_classes(tmp_path: Path) -> None:
    store(tmp_path / "train", ITEMS)
    flat(tmp_path / "test", 4)
    assert (
        refusal(tmp_path)
        == ": train holds class folders, but test holds photos only; expected class folders in"
        " each: sort those photos into class folders, or move that folder away."
    )


@pytest.mark.parametrize("names", [("Train", "train"), ("val", "validation"), ("test", "eval")])
def test_two_folders_of_one_split(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "Empty").mkdir()
    if (tmp_path / "empty").exists() and names[0].casefold() == names[1]:
        pytest.skip("a disk that knows no case")
    for folder in {"train", *names}:
        store(tmp_path / folder, ITEMS)
    assert f" has {' and '.join(sorted(names))}, which all mean the " in refusal(tmp_path)


@pytest.mark.parametrize("beside", [{"hat": 3}, {"umbrella": 3}])
def test_classes_beside_a_split(tmp_path: Path, beside: dict[str, int]) -> None:
    store(tmp_path / "Training", ITEMS)
    store(tmp_path, beside)
    assert refusal(tmp_path).startswith(
        f" has Training, which holds class folders, beside {next(iter(beside))};"
    )


def test_a_class_beside_splits_that_know_it(tmp_path: Path) -> None:
    for split in ("train", "test"):
        store(tmp_path / split, ITEMS)
    store(tmp_path, {"Hat ": 1})
    assert "beside Hat ; expected either" in refusal(tmp_path)


def test_what_lies_beside_splits_that_agree_is_left_out_and_counted_in_photos(
    tmp_path: Path,
) -> None:
    store(tmp_path / "train", ITEMS)
    store(tmp_path / "val", ITEMS, 50)
    flat(tmp_path / "predict", 8)
    flat(tmp_path / "train", 2)
    (tmp_path / "README.txt").write_text("x")
    folder = opened(tmp_path)
    assert folder.classes == ("hat", "shirt")
    assert folder.summary().endswith(
        "left out 11: 8 photos in predict (not in train, validation or test), 2 photos in train"
        " (not in a class folder), README.txt (not in train, validation or test)."
    )


def test_photos_sorted_by_nothing_are_no_class_called_images(tmp_path: Path) -> None:
    for split in ("train", "val"):
        flat(tmp_path / "yolo" / split / "images", 3)
        (tmp_path / "yolo" / split / "labels").mkdir()
        (tmp_path / "yolo" / split / "labels" / "0.txt").write_text("0 0.5 0.5 1 1")
        flat(tmp_path / "other" / "images" / split, 3)
    flat(tmp_path / "third" / "Images", 3)
    assert "train holds one folder, images, which is no product class" in refusal(tmp_path / "yolo")
    assert "images holds train and val, as a data set does" in refusal(tmp_path / "other")
    assert " holds its photos in one folder, Images, which is no product class" in refusal(
        tmp_path / "third"
    )


def test_a_data_set_one_folder_deeper(tmp_path: Path) -> None:
    for split in ("train", "test"):
        store(tmp_path / "wrapped" / "archive" / split, ITEMS)
        store(tmp_path / "doubled" / split / split, ITEMS)
    told = refusal(tmp_path / "wrapped")
    assert f"if archive is the data set, give {tmp_path / 'wrapped' / 'archive'};" in told
    assert "test holds one folder, test, which is no product class" in refusal(tmp_path / "doubled")


def test_splits_within_classes(tmp_path: Path) -> None:
    for label in ITEMS:
        store(tmp_path / label, {"train": 2, "test": 1})
    assert refusal(tmp_path).startswith(": hat holds test and train, as a data set does;")
    assert "put the split above it: test/hat." in refusal(tmp_path)


def test_splits_within_the_classes_of_a_split(tmp_path: Path) -> None:
    store(tmp_path / "train", ITEMS)
    store(tmp_path / "train" / "hat", {"val": 2})
    assert refusal(tmp_path).startswith(
        ": train/hat holds val, called like a split of a data set, within train;"
    )


def test_a_class_may_be_called_train_where_that_is_told(tmp_path: Path) -> None:
    store(tmp_path / "toys", {"car": 3, "train": 2})
    assert refusal(tmp_path / "toys").startswith(
        " has train, called like a split of a data set, beside car;"
    )
    assert opened(tmp_path / "toys", "car", "train").classes == ("car", "train")


def test_splits_without_class_folders(tmp_path: Path) -> None:
    flat(tmp_path / "train", 2)
    assert refusal(tmp_path).startswith(
        ": train holds photos but no class folders; expected train/shirt/1.jpg"
    )
    flat(tmp_path / "test", 1)
    assert refusal(tmp_path).startswith(": test and train hold photos but no class folders;")


def test_a_longer_name_is_no_split(tmp_path: Path) -> None:
    assert opened(store(tmp_path, {"seg_train": 2, "trains": 3})).classes == ("seg_train", "trains")


def test_an_empty_folder_is_no_split_that_is_missing_something(tmp_path: Path) -> None:
    store(tmp_path, ITEMS)
    (tmp_path / "test").mkdir()
    assert opened(tmp_path).classes == ("hat", "shirt")


def test_photos_without_a_class_may_lie_within_a_split(tmp_path: Path) -> None:
    store(tmp_path / "train", ITEMS | {"unlabelled": 4})
    store(tmp_path / "test", ITEMS, 50)
    folder = open_folder(tmp_path, image_size=8, channels=3, unlabelled=True)
    assert folder.classes == ("hat", "shirt")
    assert {split: len(images) for split, images in folder.unlabelled.items()} == {
        "train": 4,
        "validation": 0,
        "test": 0,
    }
