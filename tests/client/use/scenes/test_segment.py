"""`flower-client segment`, as a person runs it: bright rectangles before a dark wall."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.scenes.formats.masks import mask_of
from fedshelf.common.scenes.formats.read import read_scenes
from tests.helpers.client_command import refused, run
from tests.helpers.hand_made_models import write_bright_masks, write_square_locator


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bright_masks(tmp_path_factory.mktemp("model") / "masks.onnx"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A photo of 64 x 96 pixels, a quarter of which is a product, twice; and a broken file."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[16:48, 24:72] = (0, 255, 0)
    (tmp_path / "shop").mkdir()
    for name in ("a.png", "a.bmp"):
        Image.fromarray(pixels).save(tmp_path / "shop" / name)
    (tmp_path / "shop" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "shop"


def test_masks_pictures_and_shares(tmp_path: Path, model: str, shop: Path) -> None:
    masks, pictures = tmp_path / "masks", tmp_path / "pictures"
    options = ["--masks", str(masks), "--pictures", str(pictures), "--json"]
    done = run(tmp_path, "segment", model, str(shop), *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["2 photos.", "Left out: 1: shop/broken.png (not an image)."]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["photo"], one["width"], one["height"]) for one in told] == [
        ("shop/a.bmp", 96, 64),
        ("shop/a.png", 96, 64),
    ]
    assert {one["mask"] for one in told} == {
        str(masks / "shop" / name)
        for name in ("a.png", "a-2.png")  # neither overwrites the other
    }
    for one in told:
        mask = np.asarray(Image.open(one["mask"]))
        assert mask.shape == (64, 96)
        assert one["share"] == round(float(mask.mean()), 4)
        assert one["share"] == pytest.approx(0.25, abs=0.03)  # the network's square has 32 pixels
        assert mask[20:44, 30:66].all()
        assert not mask[:12].any()
    with Image.open(pictures / "shop" / "a.png.jpg") as picture:
        product, wall = picture.getpixel((48, 32)), picture.getpixel((5, 5))
    assert isinstance(product, tuple)
    assert isinstance(wall, tuple)
    assert product[1] > 240
    assert product[0] < 20
    assert min(wall) > 180
    lines = run(tmp_path, "segment", model, str(shop / "a.png")).stdout.splitlines()
    assert lines == [f"a.png: {told[1]['share']:.1%} of the photo shows products"]


def test_a_mask_that_is_there_is_not_overwritten(tmp_path: Path, model: str, shop: Path) -> None:
    """A person may have corrected it; a name of its own would leave the old one in its place."""
    arguments = ("segment", model, str(shop / "a.png"), "--masks", str(tmp_path / "masks"))
    run(tmp_path, *arguments)
    before = (tmp_path / "masks/a.png").read_bytes()
    assert "masks/a.png exists" in refused(tmp_path, 2, *arguments)
    assert [file.read_bytes() for file in (tmp_path / "masks").iterdir()] == [before]


def test_masks_are_labels_of_scenes(tmp_path: Path, model: str, shop: Path) -> None:
    """After a person has looked at them: with boxes of the same photos."""
    (shop / "a.bmp").unlink()
    (shop / "broken.png").unlink()
    (shop / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    run(tmp_path, "segment", model, str(shop / "a.png"), "--masks", str(shop / "masks"))
    [scene] = read_scenes(shop).scenes
    assert scene.mask is not None
    assert mask_of(scene, (), 32)[10:22, 10:22].all()


def test_what_cannot_be_is_refused(tmp_path: Path, model: str, shop: Path) -> None:
    locator = str(write_square_locator(tmp_path / "locator.onnx"))
    assert "is a locator, which finds the products" in refused(
        tmp_path, 3, "segment", locator, str(shop)
    )
    assert "is a mask network, which tells the pixels of products; expected a locator" in refused(
        tmp_path, 3, "locate", model, str(shop)
    )
    assert "(use it with flower-client segment)" in refused(
        tmp_path, 3, "classify", model, str(shop)
    )
    assert "--masks got" in refused(tmp_path, 2, "segment", model, str(shop), "--masks", str(shop))
    for name in ("a.png", "a.bmp"):
        (shop / name).unlink()
    assert "No photo could be read" in refused(tmp_path, 3, "segment", model, str(shop))
