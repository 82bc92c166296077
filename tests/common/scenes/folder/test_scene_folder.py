"""A folder of scenes for training: boxes fit the squeezed photos, splits are kept or by content."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.scenes.folder.scene_folder import open_scene_folder
from fedshelf.common.scenes.formats.read import is_scene_folder
from tests.helpers.scene_files import (
    annotation,
    coco_file,
    image,
    masks_of_cvat,
    save_photo,
    save_text,
)

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_boxes_lie_on_the_product_in_the_pixels(tmp_path: Path) -> None:
    """A white product on a black photo that is stored sideways, wide and squeezed."""
    for name, orientation in (("a", 1), ("b", 6)):
        stored = np.zeros((50, 100), np.uint8)
        stored[10:30, 20:60] = 255
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(stored).convert("RGB").save(tmp_path / f"{name}.png", exif=exif)
    sizes = [image(1, "a.png"), image(2, "b.png")]
    coco_file(tmp_path / "x.json", sizes, [annotation(n, [20, 10, 40, 20]) for n in (1, 2)])
    folder = open_scene_folder(tmp_path, PixelFormat(40))
    assert folder.boxes.shape == (2, 1, 5)
    for pixels, (box,) in zip(folder.pixels, folder.boxes, strict=True):
        left, top, right, bottom = box[:4].astype(int)
        assert pixels[top:bottom, left:right].mean() > 230
        assert pixels.mean() * 1600 == pytest.approx(255 * (right - left) * (bottom - top), rel=0.1)
    assert folder.boxes[:, 0].tolist() == [[8, 8, 24, 24, 0], [16, 8, 32, 24, 0]]


def test_splits_are_those_of_folders_or_by_content(tmp_path: Path) -> None:
    for number in range(20):
        save_photo(tmp_path / f"mine/images/{number}.png", 8, 8 + number)
        save_text(tmp_path / f"mine/labels/{number}.txt", "0 0.5 0.5 0.5 0.5\n" * (number % 2))
    folder = open_scene_folder(tmp_path / "mine", PixelFormat(8))
    assert [len(folder.rows(split)) for split in ("train", "validation", "test")] == [16, 2, 2]
    assert folder.summary == (
        "20 photos with 10 boxes (yolo); 10 without any product (16 train, 2 validation, 2 test)."
    )
    for split in ("train", "valid", "test"):
        save_photo(tmp_path / f"theirs/{split}/images/a.png", 8, 8)
        save_text(tmp_path / f"theirs/{split}/labels/a.txt", "")
    theirs = open_scene_folder(tmp_path / "theirs", PixelFormat(8))
    assert sorted(theirs.split_of) == ["test", "train", "validation"]
    assert theirs.masks is None


def test_masks_are_used_if_all_photos_have_one(tmp_path: Path) -> None:
    save_photo(tmp_path / "images/a.png", 8, 8)
    save_photo(tmp_path / "images/b.png", 8, 8)
    save_text(tmp_path / "labels/a.txt", "0 0 0 1 0 1 0.5 0 0.5\n")
    save_text(tmp_path / "labels/b.txt", "")
    folder = open_scene_folder(tmp_path, PixelFormat(4))
    assert folder.masks is not None
    assert folder.masks[0].tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]
    assert not folder.masks[1].any()
    save_text(tmp_path / "labels/b.txt", "0 0.5 0.5 0.5 0.5\n")
    folder = open_scene_folder(tmp_path, PixelFormat(4))
    assert folder.masks is None
    assert "masks are not used: 1 of 2 photos have none" in folder.summary


def test_photos_that_cannot_be_decoded_are_left_out(tmp_path: Path) -> None:
    save_photo(tmp_path / "images/a.png", 8, 8)
    cut = save_photo(tmp_path / "images/b.png", 60, 60).read_bytes()
    (tmp_path / "images/b.png").write_bytes(cut[: len(cut) // 2])
    for name in "ab":
        save_text(tmp_path / f"labels/{name}.txt", "0 0.5 0.5 0.5 0.5\n")
    folder = open_scene_folder(tmp_path, PixelFormat(8))
    assert len(folder.pixels) == len(folder.boxes) == 1
    assert folder.left_out == (("images/b.png", "truncated"),)
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(DataError, match="No usable photo"):
        open_scene_folder(tmp_path, PixelFormat(8))


def test_a_folder_of_classes_is_none_of_scenes(tmp_path: Path) -> None:
    save_photo(tmp_path / "shirt/1.png")
    save_text(tmp_path / "shirt/1.txt", "a note")
    assert not is_scene_folder(tmp_path)
    assert not is_scene_folder(tmp_path / "none")
    save_photo(tmp_path / "scenes/train/images/1.png")
    save_text(tmp_path / "scenes/train/labels/1.txt", "")
    assert is_scene_folder(tmp_path / "scenes")
    coco_file(tmp_path / "labels.json", [], [])
    assert is_scene_folder(tmp_path / "labels.json")


def test_annotations_go_with_the_photos_of_their_split(tmp_path: Path) -> None:
    for split, box in (("train", "0 0 0 1 0 1 0.5 0 0.5\n"), ("test", "")):
        save_photo(tmp_path / split / "images/a.png", 8, 8 + len(box))
        save_text(tmp_path / split / "labels/a.txt", box)
    folder = open_scene_folder(tmp_path, PixelFormat(4))
    train = folder.images("boxes")["train"]
    assert train.batch(torch.arange(1))[1].tolist() == [[[0, 0, 4, 2, 0]]]
    test = folder.images("masks")["test"]
    assert not test.batch(torch.arange(1))[1].any()
    with pytest.raises(DataError, match="got classes"):
        folder.images("classes")


def test_masks_alone_are_for_masks_and_not_for_boxes(tmp_path: Path) -> None:
    masks_of_cvat(tmp_path, 10)
    folder = open_scene_folder(tmp_path, PixelFormat(4))
    assert (folder.classes, folder.has_boxes) == (("milk", "can"), False)
    assert folder.summary == (
        "10 photos with masks and no boxes, of 2 classes (8 train, 1 validation, 1 test)."
    )
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 0, 0], [1, 1, 0, 0]]
    test = folder.images("masks", ("can", "milk"))["test"]
    swapped = [[{1: 2, 2: 1}.get(value, 0) for value in row] for row in rows]
    assert test.batch(torch.arange(1))[1].tolist() == [swapped]
    products = folder.images("masks")["test"].batch(torch.arange(1))[1]
    assert products.tolist() == [[[int(value > 0) for value in row] for row in rows]]
    with pytest.raises(DataError, match="got boxes, and boxes are missing: 10 photos with masks"):
        folder.images("boxes")
    Image.new("L", (9, 9)).save(tmp_path / "SegmentationClass/3.png")
    with pytest.raises(DataError, match=r"no boxes; masks are not used: JPEGImages/3\.jpg has a"):
        open_scene_folder(tmp_path, PixelFormat(4))
