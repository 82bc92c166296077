"""Written, then read: boxes, classes and outlines are the same."""

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.formats import coco, yolo
from fedshelf.common.scenes.formats.labelled_scene import LabelledScene, Outline
from fedshelf.common.scenes.formats.read import read_scenes
from fedshelf.common.scenes.formats.run_lengths import (
    decode_text,
    encode_text,
    from_pixels,
    to_pixels,
)
from tests.helpers.scene_files import save_photo, save_text

CLASSES = ("can", "Käse", 'no. 3: "tea"')


@given(pixels=arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_run_lengths(pixels: np.ndarray) -> None:
    height, width = pixels.shape
    runs = from_pixels(pixels)
    assert (to_pixels(decode_text(encode_text(runs)), width, height) == pixels).all()


def test_the_text_of_run_lengths() -> None:
    """By hand: 40 is 8 + 32 and 1, "X1"; 5 - 40 is 29 + 32 and -2 + 32, "mN"."""
    assert encode_text([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"


@st.composite
def many_boxes(draw: st.DrawFn) -> Boxes:
    """Boxes far from each other, so that none is a copy, in a photo of 100 x 50 pixels."""
    places = draw(st.lists(st.integers(0, 9), unique=True, max_size=6))
    side = st.floats(1.5, 9, width=32)
    corners = [[10 * at, 3, 10 * at + draw(side), 3 + draw(side)] for at in places]
    labels = [draw(st.integers(0, 2)) for _ in places]
    return Boxes.drawn(np.array(corners).reshape(-1, 4), np.array(labels, np.int64))


@settings(max_examples=20)
@given(boxes=many_boxes())
def test_yolo_and_coco(boxes: Boxes) -> None:
    for name in ("yolo", "coco"):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            photo = save_photo(root / "images" / "a.png")
            difficult = tuple(np.flatnonzero(boxes.classes == 1).tolist())
            scene = LabelledScene("a.png", photo, 100, 50, boxes, difficult=difficult)
            if name == "yolo":
                for file, text in yolo.label_texts([scene], CLASSES).items():
                    save_text(root / file, text)
            else:
                content = coco.document([scene], CLASSES, "a test")
                (root / "labels.json").write_text(json.dumps(content))
            labels = read_scenes(root)
        (found,) = labels.scenes
        assert labels.format == name
        assert labels.classes == CLASSES
        assert labels.odd_boxes == {}
        assert found.boxes.classes.tolist() == boxes.classes.tolist()
        np.testing.assert_allclose(found.boxes.corners, boxes.corners, atol=2e-3)
        assert found.difficult == (difficult if name == "coco" else ())  # YOLO has no place for it


def test_outlines_and_products_without_a_class(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "a.png", 8, 6)
    pixels = np.zeros((6, 8), np.bool_)
    pixels[1:4, 2:5] = True
    outlines = (
        Outline(bitmap=np.array(from_pixels(pixels))),
        Outline((np.array([[5, 0], [8, 0], [8, 5.5]], np.float32),)),
    )
    boxes = Boxes.drawn(np.array([[2, 1, 5, 4], [5, 0, 8, 5.5]]))
    scene = LabelledScene("a.png", photo, 8, 6, boxes, outlines)
    (tmp_path / "a.json").write_text(json.dumps(coco.document([scene], (), "a test")))
    labels = read_scenes(tmp_path)
    (found,) = labels.scenes
    assert labels.classes == ()
    assert found.boxes.corners.tolist() == boxes.corners.tolist()
    assert found.boxes.classes.tolist() == [-1, -1]
    first, second = found.outlines
    assert first is not None
    assert second is not None
    assert (to_pixels(first.bitmap, 8, 6) == pixels).all()
    assert (second.polygons[0] == outlines[1].polygons[0]).all()


def test_guesses_are_no_labels(tmp_path: Path) -> None:
    photo = save_photo(tmp_path / "a.png", 8, 6)
    boxes = Boxes(np.array([[2, 1, 5, 4]], np.float32), np.array([0]), np.array([0.8], np.float32))
    scene = LabelledScene("a.png", photo, 8, 6, boxes)
    (tmp_path / "a.json").write_text(json.dumps(coco.document([scene], ("can",), "a guess")))
    assert read_scenes(tmp_path).left_out == (("a.png", coco.SCORED),)
