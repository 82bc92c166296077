"""Boxes on their photo: turned with it, cut at its edges; odd ones and odd files are counted."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fedshelf.common.scenes.formats.masks import mask_of
from fedshelf.common.scenes.formats.read import read_scenes
from fedshelf.common.scenes.formats.run_lengths import encode_text, from_pixels
from fedshelf.common.scenes.formats.turning import turn_corners, turn_pixels
from tests.helpers.scene_files import annotation, coco_file, image, save_photo, save_text


@given(
    orientation=st.integers(1, 8),
    box=st.tuples(*[st.integers(0, 6)] * 2, st.integers(7, 9), st.integers(7, 8)),
)
def test_boxes_and_pixels_turn_as_the_photo_does(
    orientation: int, box: tuple[int, int, int, int]
) -> None:
    left, top, right, bottom = box
    stored = np.zeros((8, 9), np.uint8)
    stored[top:bottom, left:right] = 255
    photo = Image.fromarray(stored)
    photo.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(photo))
    assert (turn_pixels(stored, orientation) == upright).all()
    (corners,) = turn_corners(np.array([box], np.float64), orientation, 9, 8).tolist()
    rows, columns = np.nonzero(upright)
    assert corners == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_labels_of_the_upright_and_of_the_stored_photo(tmp_path: Path) -> None:
    """Stored as 100 x 50, seen as 50 x 100: the recorded size says what the tool showed."""
    for name in ("a", "b"):
        save_photo(tmp_path / f"{name}.jpg", 100, 50, orientation=6)
    coco_file(
        tmp_path / "labels.json",
        [image(1, "a.jpg", 50, 100), image(2, "b.jpg", 100, 50)],
        [annotation(1, [10, 20, 5, 8]), annotation(2, [20, 35, 8, 5])],
    )
    first, second = read_scenes(tmp_path).scenes
    assert first.boxes.corners.tolist() == second.boxes.corners.tolist() == [[10, 20, 15, 28]]
    assert (first.width, first.height) == (50, 100)


def test_a_photo_upside_down_is_as_the_others_or_is_not_used(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg", orientation=3)
    alone = [image(1, "a.jpg")]
    coco_file(tmp_path / "labels.json", alone, [annotation(1, [0, 0, 10, 10])])
    labels = read_scenes(tmp_path)
    assert labels.left_out == (("a.jpg", "turned by EXIF (3): save it upright"),)
    save_photo(tmp_path / "b.jpg", orientation=8)
    both = [*alone, image(2, "b.jpg", 100, 50)]  # as stored
    coco_file(tmp_path / "labels.json", both, [annotation(1, [0, 0, 10, 10])])
    first, _ = read_scenes(tmp_path).scenes
    assert first.boxes.corners.tolist() == [[90, 40, 100, 50]]


def test_run_lengths_turn_with_a_stored_photo(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png", 40, 20, orientation=6)
    stored = np.zeros((20, 40), np.bool_)
    stored[:5] = True
    rle = {"size": [20, 40], "counts": encode_text(from_pixels(stored))}
    shown = annotation(1, [0, 0, 40, 5], segmentation=rle)
    coco_file(tmp_path / "labels.json", [image(1, "a.png", 40, 20)], [shown])
    labels = read_scenes(tmp_path)
    (scene,) = labels.scenes
    assert scene.boxes.corners.tolist() == [[15, 0, 20, 40]]
    mask = mask_of(scene, labels.classes, 20)
    assert (mask[:, 15:] == 1).all()
    assert not mask[:, :15].any()


@pytest.mark.parametrize(
    ("boxes", "kept", "odd"),
    [
        ([[-10, 0, 30, 20]], [[0, 0, 20, 20]], {"cut at the photo's edge": 1}),
        ([[-0.5, 0, 20.5, 20]], [[0, 0, 20, 20]], {}),
        ([[-30, 0, 40, 20]], [], {"mostly outside the photo": 1}),
        ([[200, 0, 40, 20]], [], {"mostly outside the photo": 1}),
        ([[10, 10, 0, 20], [10, 10, -5, 20]], [], {"without an area": 2}),
        ([[10, 10, 30, 30], [10, 10, 30, 30]], [[10, 10, 40, 40]], {"drawn twice": 1}),
    ],
)
def test_odd_boxes(
    tmp_path: Path, boxes: list[list[float]], kept: list[list[float]], odd: dict[str, int]
) -> None:
    save_photo(tmp_path / "a.jpg")
    coco_file(tmp_path / "a.json", [image(1, "a.jpg")], [annotation(1, box) for box in boxes])
    labels = read_scenes(tmp_path)
    assert labels.scenes[0].boxes.corners.tolist() == kept
    assert labels.odd_boxes == odd
    assert all(reason in labels.summary() for reason in odd)


def test_one_box_of_two_classes_has_none(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg")
    two = [annotation(1, [1, 1, 9, 9], category) for category in (1, 2)]
    coco_file(tmp_path / "a.json", [image(1, "a.jpg")], two, ("can", "milk"))
    labels = read_scenes(tmp_path)
    assert labels.scenes[0].boxes.classes.tolist() == [-1]
    assert labels.odd_boxes == {"of two classes, taken as without one": 1}


def test_odd_files_are_named(tmp_path: Path) -> None:
    """Each photo but the first is left out, each for a reason of its own."""
    lines = {
        "a": "0 0.5 0.5 0.2 0.2",
        "pixels": "0 50 25 20 20",
        "nan": "0 nan 0.5 0.2 0.2",
        "guess": "0 0.5 0.5 0.2 0.2 0.93",
        "words": "can 0.5 0.5 0.2 0.2",
        "huge": f"0 0.5 0.5 0.2 1{'0' * 400}",
        "short": "0 0.5 0.5",
        "lonely": "0 0.5 0.5 0.2 0.2",
    }
    for name, line in lines.items():
        save_text(tmp_path / f"labels/{name}.txt", line)
        if name != "lonely":
            save_photo(tmp_path / f"images/{name}.jpg")
    save_photo(tmp_path / "images/unlabelled.jpg")
    save_text(tmp_path / "images/broken.jpg", "no photo")
    save_text(tmp_path / "labels/broken.txt", "")
    labels = read_scenes(tmp_path)
    assert [scene.name for scene in labels.scenes] == ["images/a.jpg"]
    reasons = dict(labels.left_out)
    assert sorted(reasons) == sorted(
        [
            "labels/lonely.txt",
            *(f"images/{name}.jpg" for name in lines if name not in ("a", "lonely")),
            "images/unlabelled.jpg",
            "images/broken.jpg",
        ]
    )
    assert "0 to 1" in reasons["images/pixels.jpg"]
    assert "confidence" in reasons["images/guess.jpg"]
    assert reasons["images/unlabelled.jpg"].startswith("no labels")


def test_labels_of_another_size_are_not_used(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg")
    coco_file(tmp_path / "a.json", [image(1, "a.jpg", 200, 100)], [])
    assert read_scenes(tmp_path).left_out == (
        ("a.jpg", "is of 100 x 50 pixels, its labels of a photo of 200 x 100"),
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"bbox": [0, 0, 1e999, 5]},
        {"bbox": [0, 0, 5]},
        {"bbox": ["nan", 0, 5, 5]},
        {"bbox": [], "segmentation": []},
        {"segmentation": [[1, 2, 3]]},
        {"segmentation": {"size": [50, 100], "counts": "~~"}},
        {"segmentation": {"size": [50, 100], "counts": [1, 2]}},
        {"segmentation": {"size": [9e8, 9e8], "counts": [10**400]}},
        {"segmentation": [[1e8, 0, 5, 5, 0, 9]]},
    ],
)
def test_a_damaged_box_takes_its_photo_out_alone(tmp_path: Path, bad: dict) -> None:
    for name in ("a", "b"):
        save_photo(tmp_path / f"{name}.jpg")
    boxes = [annotation(1, [1, 1, 9, 9]), annotation(1, [1, 1, 9, 9]) | bad]
    coco_file(tmp_path / "x.json", [image(1, "a.jpg"), image(2, "b.jpg")], boxes)
    labels = read_scenes(tmp_path)
    assert [scene.name for scene in labels.scenes] == ["b.jpg"]
    assert [name for name, _ in labels.left_out] == ["a.jpg"]


def test_a_photo_of_more_boxes_than_a_model_finds_is_not_used(tmp_path: Path) -> None:
    for name, count in (("a", 1000), ("b", 1001)):
        save_photo(tmp_path / f"images/{name}.jpg")
        save_text(tmp_path / f"labels/{name}.txt", "0 0.5 0.5 0.2 0.4\n" * count)
    labels = read_scenes(tmp_path)
    assert [(scene.name, len(scene.boxes)) for scene in labels.scenes] == [("images/a.jpg", 1)]
    assert labels.odd_boxes == {"drawn twice": 999}
    assert labels.left_out == (("images/b.jpg", "has 1,001 boxes; a model finds at most 1,000"),)
