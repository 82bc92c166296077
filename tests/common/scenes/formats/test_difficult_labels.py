"""Products that label files call hardly seen: neither asked for nor wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.difficult import DIFFICULT, counted
from fedshelf.common.scenes.folder.run_classes import in_run_classes
from fedshelf.common.scenes.folder.scene_folder import open_scene_folder
from fedshelf.common.scenes.formats import coco
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene, Outline
from fedshelf.common.scenes.formats.masks import mask_of
from fedshelf.common.scenes.formats.read import read_scenes
from fedshelf.common.tasks.boxes import true_boxes
from tests.helpers.scene_files import annotation, coco_file, image, save_photo, save_text

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path_factory.mktemp("cache")))


def voc(folder: Path, marks: list[str]) -> None:
    """A photo of 100 x 50 pixels with a product for each mark, 10 x 20 pixels, 30 apart."""
    save_photo(folder / "a.jpg")
    objects = "".join(
        f"<object><name>milk</name>{mark}<bndbox><xmin>{30 * at}</xmin><ymin>10</ymin>"
        f"<xmax>{30 * at + 10}</xmax><ymax>30</ymax></bndbox></object>"
        for at, mark in enumerate(marks)
    )
    size = "<size><width>100</width><height>50</height></size>"
    save_text(
        folder / "a.xml",
        f"<annotation><filename>a.jpg</filename>{size}{objects}</annotation>",
    )


MARKS = ["<difficult>0</difficult>", "<difficult>1</difficult>", "<truncated>1</truncated>"]


def test_difficult_objects_of_voc(tmp_path: Path) -> None:
    """Of `difficult` and `truncated` the challenge leaves out the first alone."""
    voc(tmp_path, MARKS)
    labels = read_scenes(tmp_path)
    (scene,) = labels.scenes
    assert scene.boxes.classes.tolist() == [0, 0, 0]
    assert scene.difficult == (1,)
    assert "3 boxes (voc) of 1 class; 1 box difficult, which count nowhere." in labels.summary()
    folder = open_scene_folder(tmp_path, PixelFormat(100))
    assert folder.boxes[0].tolist() == [
        [0, 20, 10, 60, 0],
        [30, 20, 40, 60, DIFFICULT],
        [60, 20, 70, 60, 0],
    ]


@pytest.mark.parametrize("products", [(), ("tea", "milk")])
def test_a_difficult_object_is_neither_asked_for_nor_wrong(
    tmp_path: Path, products: tuple[str, ...]
) -> None:
    """Two products are counted: none missed if the third is not found, and none wrong if it is."""
    voc(tmp_path, MARKS)
    folder = open_scene_folder(tmp_path, PixelFormat(96))
    (row,) = in_run_classes(folder.annotations()["boxes"], folder.classes, products)
    label = products.index("milk") if products else 0
    assert row[:, 4].tolist() == [label, DIFFICULT, label]
    for found in (row[[0, 2]], row):
        guesses = Boxes.drawn(found[:, :4].numpy(), np.full(len(found), label))
        assert [len(boxes) for boxes in counted(guesses, true_boxes(row))] == [2, 2]


def test_a_mark_that_is_none_is_named(tmp_path: Path) -> None:
    voc(tmp_path, ["<difficult>maybe</difficult>"])
    [(name, reason)] = read_scenes(tmp_path).left_out
    assert (name, reason) == (
        "a.jpg",
        "labels that cannot be understood: difficult is 'maybe', neither 0 nor 1",
    )


def test_coco_has_crowds_and_products_that_are_not_judged(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png")
    boxes = [
        annotation(1, [0, 10, 10, 20]),
        annotation(1, [30, 10, 10, 20], iscrowd=1, ignore=1),
        annotation(1, [60, 10, 30, 20], iscrowd=1),
        annotation(1, [40, 10, 10, 20], ignore=True),
    ]
    coco_file(tmp_path / "a.json", [image(1, "a.png")], boxes)
    labels = read_scenes(tmp_path)
    (scene,) = labels.scenes
    assert scene.boxes.corners[:, 0].tolist() == [0, 30, 40]
    assert scene.difficult == (1, 2)
    assert labels.odd_boxes == {"around a crowd, not one product": 1}


def test_the_place_of_a_difficult_box_follows_boxes_that_are_left_out(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.png")
    boxes = [
        annotation(1, [500, 10, 10, 20]),
        annotation(1, [30, 10, 10, 20]),
        annotation(1, [60, 10, 10, 20], ignore=1),
    ]
    coco_file(tmp_path / "a.json", [image(1, "a.png")], boxes)
    assert read_scenes(tmp_path).scenes[0].difficult == (1,)


def test_a_difficult_product_keeps_its_pixels(tmp_path: Path) -> None:
    """A mask network is asked for all pixels of products that are seen."""
    photo = save_photo(tmp_path / "a.png", 8, 6)
    outline = Outline((np.array([[2, 1], [5, 1], [5, 4], [2, 4]], np.float32),))
    scene = LabelledScene(
        "a.png", photo, 8, 6, Boxes.drawn(np.array([[2, 1, 5, 4]])), (outline,), difficult=(0,)
    )
    content = coco.document([scene], (), "a test")
    (written,) = content["annotations"]
    assert (written["iscrowd"], written["ignore"]) == (1, 1)
    (tmp_path / "a.json").write_text(json.dumps(content))
    (found,) = read_scenes(tmp_path).scenes
    assert found.difficult == (0,)
    assert mask_of(found, (), 24).sum() == 9 * 3 * 4
