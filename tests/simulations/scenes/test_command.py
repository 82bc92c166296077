"""`flower-simulation scenes`, on product photos that are drawn here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.formats.masks import mask_of
from fedshelf.common.scenes.formats.read import read_scenes
from fedshelf.simulations.datasets.scenes.composition import ComposedScene
from fedshelf.simulations.main import app
from fedshelf.simulations.scenes.command import labelled
from tests.helpers.commands import call
from tests.helpers.hand_made_models import write_bright_masks
from tests.helpers.scene_files import save_sheets


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty cans and twenty boxes on white sheets, and two photos that cannot be used."""
    folder = save_sheets(tmp_path_factory.mktemp("photos"))
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    Image.fromarray(noise).save(folder / "box" / "noise.png")
    (folder / "box" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    return folder


def test_scenes_with_outlines_in_coco(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "scenes"
    told = call(
        app, "scenes", "--photos", str(photos), "--out", str(out), "--scenes", "12", "--side", "96"
    )
    assert told.returncode == 0
    labels = read_scenes(out)
    boxes = sum(len(scene.boxes) for scene in labels.scenes)
    difficult = sum(len(scene.difficult) for scene in labels.scenes)
    assert f"12 scenes (10 train, 1 validation, 1 test) with {boxes:,} products" in told.stdout
    assert 0 < difficult < boxes / 2
    assert f"products, {difficult} of them less than half seen (difficult:" in told.stdout
    assert "1 without a plain margin" in told.stdout
    assert "1 unreadable" in told.stdout
    assert labels.classes == ("box", "can")
    assert (labels.left_out, labels.odd_boxes) == ((), {})
    assert [scene.split for scene in labels.scenes].count("train") == 10
    for scene in labels.scenes:
        assert scene.has_mask
        mask = mask_of(scene, labels.classes, 96)
        for label, (left, top, right, bottom) in zip(
            scene.boxes.classes, scene.boxes.corners.round().astype(int), strict=True
        ):
            # most of a box is of its product, if no other stands before it
            assert (mask[top:bottom, left:right] == label + 1).mean() > 0.2


def test_products_less_than_half_seen_are_difficult() -> None:
    corners = np.array([[0, 0, 4, 8], [4, 0, 8, 8], [8, 0, 12, 8]])
    seen = np.array([1, 0.49, 0.5], np.float32)
    blank = np.zeros((12, 12, 3), np.uint8)
    scene = ComposedScene(blank, Boxes.drawn(corners), blank[..., 0], seen)
    assert labelled("1.jpg", "train", scene).difficult == (1,)


def test_scenes_in_yolo_are_the_same(photos: Path, tmp_path: Path) -> None:
    found = {}
    for form in ("coco", "yolo"):
        told = call(app, *_arguments(photos, tmp_path / form), "--format", form)
        found[form] = read_scenes(tmp_path / form)
    difficult = sum(len(scene.difficult) for scene in found["coco"].scenes)
    assert f"{difficult} of them less than half seen, which YOLO cannot say" in told.stdout
    assert not any(scene.difficult for scene in found["yolo"].scenes)
    assert "val: images/validation\n" not in (tmp_path / "yolo/data.yaml").read_text()
    assert [s.name for s in found["coco"].scenes] == [s.name for s in found["yolo"].scenes]
    for one, other in zip(found["coco"].scenes, found["yolo"].scenes, strict=True):
        np.testing.assert_allclose(one.boxes.corners, other.boxes.corners, atol=0.01)
        assert one.boxes.classes.tolist() == other.boxes.classes.tolist()


def test_what_cannot_be_done_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    full = call(app, *_arguments(photos, photos))
    assert "new or empty folder" in full.stderr
    (tmp_path / "bare" / "box").mkdir(parents=True)
    Image.open(photos / "box" / "noise.png").save(tmp_path / "bare" / "box" / "1.png")
    none = call(app, *_arguments(tmp_path / "bare", tmp_path / "out"))
    assert "1 without a plain margin" in none.stderr
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".*")) == []


def _arguments(photos: Path, out: Path) -> list[str]:
    return ["scenes", "--photos", str(photos), "--out", str(out), "--scenes", "4", "--side", "64"]


def test_a_mask_network_cuts_out_what_stands_before_anything(tmp_path: Path) -> None:
    """Bright rectangles before dark noise, in which no margin is plain."""
    draws = np.random.default_rng(3)
    for number in range(20):
        pixels = draws.integers(0, 120, (60, 60, 3), np.uint8)
        pixels[15:45, 20:40] = draws.integers(150, 256, (30, 20, 3), np.uint8)
        place = tmp_path / "photos" / "box" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    masks = write_bright_masks(tmp_path / "masks.onnx", side=60)
    command = ["scenes", "--photos", str(tmp_path / "photos"), "--scenes", "4", "--side", "96"]
    refused = call(app, *command, "--out", str(tmp_path / "none"))
    assert refused.returncode == 3
    assert "a mask network that cuts them out (--masks MODEL)" in refused.stderr
    told = call(app, *command, "--out", str(tmp_path / "scenes"), "--masks", str(masks))
    assert told.returncode == 0, told.stderr
    assert "20 products cut out of 20 photos, 20 of them by the mask network." in told.stdout
    assert sum(len(scene.boxes) for scene in read_scenes(tmp_path / "scenes").scenes) > 4
