"""Masks: the class of each pixel, from outlines, and from pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.scenes.formats.masks import mask_of, polygon_pixels
from fedshelf.common.scenes.formats.read import read_scenes
from tests.helpers.scene_files import annotation, coco_file, image, save_photo, save_text

SQUARE = np.array([[0, 0, 0, 0], [0, 1, 2, 0], [0, 1, 2, 255], [0, 0, 0, 0]], np.uint8)


def folder(root: Path, mask: np.ndarray, names: str = "can\nmilk\n", orientation: int = 1) -> Path:
    """One photo of 4 x 4 pixels with a mask."""
    save_photo(root / "images/a.png", 4, 4, orientation)
    save_text(root / "labels/a.txt", "0 0.5 0.5 0.5 0.5\n")
    if names:
        save_text(root / "classes.txt", names)
    (root / "masks").mkdir()
    Image.fromarray(mask).save(root / "masks/a.png")
    return root


def read_mask(root: Path, side: int = 4) -> np.ndarray:
    labels = read_scenes(root)
    return mask_of(labels.scenes[0], labels.classes, side)


def test_a_picture_has_the_classes_from_one(tmp_path: Path) -> None:
    assert (read_mask(folder(tmp_path, SQUARE)) == SQUARE).all()


def test_without_classes_all_are_products(tmp_path: Path) -> None:
    found = read_mask(folder(tmp_path, SQUARE, names=""))
    assert found.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 255], [0, 0, 0, 0]]


def test_black_and_white_is_a_product(tmp_path: Path) -> None:
    found = read_mask(folder(tmp_path, (SQUARE > 0).astype(np.uint8) * 255, names=""))
    assert (found == (SQUARE > 0)).all()


def test_colours_of_a_label_map(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-smask/"""
    colours = np.array([[0, 0, 0], [10, 128, 0], [255, 0, 0]], np.uint8)
    values = SQUARE * (SQUARE < 255)
    root = folder(tmp_path, colours[values])
    save_text(
        root / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nmilk:255,0,0::\ncan:10,128,0::\n",
    )
    assert (read_mask(root) == values).all()


def test_numbers_count_the_classes_of_a_label_map(tmp_path: Path) -> None:
    """The boxes' classes are can and milk, those of the map milk and can."""
    root = folder(tmp_path, SQUARE)
    save_text(root / "labelmap.txt", "background:0,0,0::\nmilk:255,0,0::\ncan:10,128,0::\n")
    swapped = np.array([[0, 0, 0, 0], [0, 2, 1, 0], [0, 2, 1, 255], [0, 0, 0, 0]])
    assert (read_mask(root) == swapped).all()
    save_text(root / "labelmap.txt", "background:0,0,0::\nmilk:255,0,0::\n")
    with pytest.raises(NotUsableError, match=r"class 2, which labelmap\.txt does not have"):
        read_mask(root)


@pytest.mark.parametrize(
    ("mask", "orientation", "reason"),
    [
        (SQUARE * 3, 1, "class 3 of 2|class 6 of 2"),
        (SQUARE.repeat(3, axis=0), 1, "another size"),
        (SQUARE, 3, "another size or turn"),
        (np.stack([SQUARE] * 3, axis=-1), 1, "without labelmap.txt"),
        ((SQUARE > 0).astype(np.uint8) * 255, 1, "255 alone"),
    ],
)
def test_a_mask_that_says_something_else_is_refused(
    tmp_path: Path, mask: np.ndarray, orientation: int, reason: str
) -> None:
    with pytest.raises(NotUsableError, match=reason):
        read_mask(folder(tmp_path, mask, orientation=orientation))


def test_the_smaller_of_two_outlines_is_in_front(tmp_path: Path) -> None:
    save_photo(tmp_path / "images/a.png", 20, 10)
    save_text(
        tmp_path / "labels/a.txt",
        "0 0.25 0.2 0.5 0.2 0.5 0.6 0.25 0.6\n0 0 0 1 0 1 1 0 1\n",
    )
    found = read_mask(tmp_path, 20)
    assert (found == 1).all()
    save_text(tmp_path / "classes.txt", "a\nb\n")
    save_text(
        tmp_path / "labels/a.txt",
        "0 0.25 0.2 0.5 0.2 0.5 0.6 0.25 0.6\n1 0 0 1 0 1 1 0 1\n",
    )
    found = read_mask(tmp_path, 20)
    expected = np.full((20, 20), 2)
    expected[4:12, 5:10] = 1
    assert (found == expected).all()


def test_a_polygon_has_the_pixels_whose_middle_is_in_it() -> None:
    """The triangle below the diagonal of 4 x 4 pixels, and a polygon around all."""
    triangle = polygon_pixels(np.array([[0, 0], [4.2, 4], [0, 4]]), 4)
    assert triangle.astype(int).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    outside = np.array([[-9, -9], [40, -9], [40, 40], [-9, 40]], np.float64)
    assert polygon_pixels(outside, 3).all()


@pytest.mark.parametrize("counts", [[4, 3, 6], [4, -2, 10], []])
def test_run_lengths_of_another_size_are_named_with_their_photo(
    tmp_path: Path, counts: list[int]
) -> None:
    save_photo(tmp_path / "a.png", 4, 3)
    rle = {"counts": counts, "size": [3, 4]}
    coco_file(
        tmp_path / "a.json",
        [image(1, "a.png", 4, 3)],
        [annotation(1, [1, 1, 1, 2], segmentation=rle)],
    )
    assert read_scenes(tmp_path).left_out == (
        ("a.png", "run lengths of another size than the photo's"),
    )
