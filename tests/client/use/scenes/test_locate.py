"""`flower-client locate`, as a person runs it: red, green and blue squares on a dark shelf."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.scenes.formats.read import read_scenes
from tests.helpers.client_command import refused, run
from tests.helpers.hand_made_models import write_colour_classifier, write_square_locator
from tests.helpers.saved_models import save_model

LEFTS = (22, 54, 90)
COLOUR_NAMES = ("red", "green", "blue")
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


@pytest.fixture(scope="module")
def locator(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_square_locator(tmp_path_factory.mktemp("locator") / "locator.onnx"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_colour_classifier(tmp_path_factory.mktemp("classifier") / "model.onnx"))


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A photo of 160 pixels with a red, a green and a blue square, and a broken file beside it."""
    pixels = np.zeros((160, 160, 3), np.uint8)
    for left, colour in zip(LEFTS, COLOURS, strict=True):
        pixels[50:66, left : left + 16] = colour
    shade = [63, 64, 65]  # a flat crop shows nothing
    pixels[shade] -= pixels[shade] // 6
    (tmp_path / "shop").mkdir()
    Image.fromarray(pixels).save(tmp_path / "shop" / "shelf.png")
    (tmp_path / "shop" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "shop"


def test_photos_of_one_name_have_a_picture_each(tmp_path: Path, locator: str, shelf: Path) -> None:
    """Those of two cameras; a second run writes them in place of the first one's."""
    (tmp_path / "west/shop").mkdir(parents=True)
    Image.new("RGB", (160, 160), (90, 90, 90)).save(tmp_path / "west/shop/shelf.png")
    photos = [str(shelf), str(tmp_path / "west/shop")]
    for _ in range(2):
        done = run(tmp_path, "locate", locator, *photos, "--pictures", str(tmp_path / "pictures"))
        assert done.returncode == 0, done.stderr
        written = sorted((tmp_path / "pictures/shop").iterdir())
        assert [file.name for file in written] == ["shelf.png-2.jpg", "shelf.png.jpg"]
        assert written[0].read_bytes() != written[1].read_bytes()
    told = refused(tmp_path, 3, "locate", locator, *photos, "--coco", str(tmp_path / "labels"))
    assert "Two photos are called shop/shelf.png" in told
    assert not (tmp_path / "labels/coco.json").exists()


def test_products_in_boxes_with_names(
    tmp_path: Path, locator: str, classifier: str, shelf: Path
) -> None:
    done = run(
        tmp_path, "locate", locator, str(shelf), "--classifier", classifier, "--json",
        "--csv", str(tmp_path / "out.csv"), "--pictures", str(tmp_path / "pictures"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "1 photo: 3 products.",
        "Left out: 1: shop/broken.png (not an image).",
    ]
    scene = json.loads(done.stdout)
    assert (scene["photo"], scene["width"], scene["height"]) == ("shop/shelf.png", 160, 160)
    told = sorted((product["box"], product["guesses"][0]["class"]) for product in scene["products"])
    assert told == [
        ([left, 50, left + 16, 66], name)
        for left, name in zip(LEFTS, ("red", "green", "blue"), strict=True)
    ]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((float(row["left"]), row["verdict"]) for row in rows) == [
        (float(left), "sure") for left in LEFTS
    ]
    with Image.open(tmp_path / "pictures" / "shop" / "shelf.png.jpg") as picture:
        assert picture.size == (160, 160)


@pytest.mark.parametrize("names", [True, False])
def test_labelling_tools_read_the_boxes(
    tmp_path: Path, locator: str, classifier: str, shelf: Path, *, names: bool
) -> None:
    """COCO and YOLO files are read back by the readers of a store's labels.

    Scores say that a model guessed, and such boxes are no labels; a person's tool drops them.
    """
    more = ["--classifier", classifier] if names else []
    for kind in ("coco", "yolo"):
        out = tmp_path / kind
        done = run(tmp_path, "locate", locator, str(shelf), f"--{kind}", str(out), *more)
        assert done.returncode == 0, done.stderr
    shutil.copytree(shelf, tmp_path / "coco" / "shop")  # its photos lie where it names them
    file = tmp_path / "coco" / "coco.json"
    content = json.loads(file.read_text())
    assert [box.pop("score") > 0.9 for box in content["annotations"]] == [True] * 3
    file.write_text(json.dumps(content))
    for kind in ("coco", "yolo"):
        labels = read_scenes(tmp_path / kind)
        [scene] = labels.scenes
        told = sorted(
            (corners, labels.classes[label] if label >= 0 else "product")
            for corners, label in zip(
                scene.boxes.corners.round(1).tolist(), scene.boxes.classes.tolist(), strict=True
            )
        )
        assert told == [
            ([left, 50, left + 16, 66], name if names else "product")
            for left, name in zip(LEFTS, ("red", "green", "blue"), strict=True)
        ]


def test_without_a_classifier_products_have_no_names(
    tmp_path: Path, locator: str, shelf: Path
) -> None:
    done = run(tmp_path, "locate", locator, str(shelf))
    assert done.stdout.splitlines() == ["shop/shelf.png: 3 products"]
    assert run(tmp_path, "locate", locator, str(shelf), "--score", "1").stdout.splitlines() == [
        "shop/shelf.png: 0 products"
    ]


def test_what_is_not_like_an_index_is_unknown(
    tmp_path: Path, locator: str, classifier: str, shelf: Path
) -> None:
    """The index has red and blue products; the green one of the shelf is sure without it."""
    draws = np.random.default_rng(0)
    for number in range(12):
        pixels = draws.integers(0, 30, (16, 16, 3), np.uint8)
        pixels[:12, :, 0 if number % 2 else 2] = draws.integers(200, 256)
        place = tmp_path / "known" / COLOUR_NAMES[0 if number % 2 else 2] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    index = str(tmp_path / "shop.index")
    done = run(tmp_path, "index", classifier, str(tmp_path / "known"), "--out", index)
    assert done.returncode == 0, done.stderr
    plan = tmp_path / "plan.csv"
    plan.write_text("shelf,column,product\n1,1,red\n1,2,green\n1,3,blue\n")
    commands = {
        "locate": ["locate", locator, str(shelf), "--classifier", classifier],
        "planogram": ["planogram", locator, str(plan), str(shelf), "--classifier", classifier],
        "count": ["count", classifier, str(shelf), "--locator", locator],
    }
    told = {
        name: run(tmp_path, *arguments, "--index", index).stdout
        for name, arguments in commands.items()
    }
    assert told["locate"] == "shop/shelf.png: 3 products: red 1, blue 1, 1 unknown\n"
    assert "2 right, 0 wrong, 0 unsure, 1 unknown and 0 gap" in told["planogram"]
    assert "(unknown)             1" in told["count"]
    assert "green 1" in run(tmp_path, *commands["locate"]).stdout
    assert "give --classifier MODEL, too" in refused(
        tmp_path, 2, "locate", locator, str(shelf), "--index", index
    )


def test_small_products_of_a_large_photo_are_found_in_tiles(tmp_path: Path, locator: str) -> None:
    """60 squares on 640 pixels: on the whole photo they are 4 pixels small, and none is found."""
    pixels = np.zeros((640, 640, 3), np.uint8)
    for row in range(6):
        for column in range(10):
            top, left = 22 + 100 * row, 10 + 60 * column
            pixels[top : top + 16, left : left + 16] = COLOURS[column % 3]
    Image.fromarray(pixels).save(tmp_path / "long.png")
    expected = sorted(
        [10 + 60 * column, 22 + 100 * row, 26 + 60 * column, 38 + 100 * row]
        for row in range(6)
        for column in range(10)
    )
    photo = str(tmp_path / "long.png")
    for options in (["--tiles", "5"], []):  # by itself, it looks closer until boxes are sure
        told = run(tmp_path, "locate", locator, photo, "--json", *options)
        boxes = [product["box"] for product in json.loads(told.stdout)["products"]]
        assert sorted(boxes) == expected
    whole = run(tmp_path, "locate", locator, photo, "--tiles", "1")
    assert whole.stdout == "long.png: 0 products\n"


def test_a_model_of_another_kind_is_refused(
    tmp_path: Path, locator: str, classifier: str, shelf: Path
) -> None:
    weights = str(save_model(tmp_path / "model"))
    for model in (classifier, weights):
        assert "is a classifier, which names the product on a photo; expected a locator" in refused(
            tmp_path, 3, "locate", model, str(shelf)
        )
    assert "is a locator, which finds the products" in refused(
        tmp_path, 3, "locate", locator, str(shelf), "--classifier", locator
    )
    for command in (
        ["classify", locator, str(shelf)],
        ["explain", locator, str(shelf / "shelf.png"), "--out", str(tmp_path / "heat.png")],
        ["index", locator, str(shelf), "--out", str(tmp_path / "an.index")],
        ["inspect", locator, str(shelf), "--good", str(shelf)],
        ["count", locator, str(shelf)],
        ["annotate", locator, str(shelf), "--out", str(tmp_path / "sorted")],
    ):
        assert "is a locator, which finds the products" in refused(tmp_path, 3, *command)


def test_pictures_never_overwrite_photos(tmp_path: Path, locator: str, shelf: Path) -> None:
    before = (shelf / "shelf.png").read_bytes()
    error = refused(tmp_path, 2, "locate", locator, str(shelf), "--pictures", str(shelf))
    assert "which has photos to read" in error
    assert (shelf / "shelf.png").read_bytes() == before


def test_nothing_to_read_is_an_error(tmp_path: Path, locator: str, shelf: Path) -> None:
    (shelf / "shelf.png").unlink()
    assert "No photo could be read (1: shop/broken.png" in refused(
        tmp_path, 3, "locate", locator, str(shelf)
    )
    (shelf / "broken.png").unlink()
    assert "No photo could be read (there is none); expected JPEG" in refused(
        tmp_path, 3, "locate", locator, str(shelf)
    )
    assert "There is no" in refused(tmp_path, 3, "locate", locator, str(tmp_path / "none"))


def test_a_locator_with_classes_names_its_boxes(tmp_path: Path, shelf: Path) -> None:
    """In the list, in COCO and in YOLO, without a classifier."""
    names = ("cherry", "leaf", "sky")
    file = write_square_locator(tmp_path / "named.onnx", classes=names)
    (shelf / "broken.png").unlink()
    done = run(
        tmp_path, "locate", str(file), str(shelf), "--coco", str(tmp_path / "coco"),
        "--yolo", str(tmp_path / "yolo"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "3 products: cherry 1, leaf 1, sky 1" in done.stdout
    coco = json.loads((tmp_path / "coco" / "coco.json").read_text())
    assert {category["name"] for category in coco["categories"]} >= set(names)
    assert len({box["category_id"] for box in coco["annotations"]}) == 3
    labels = (tmp_path / "yolo" / "labels" / "shop" / "shelf.txt").read_text().splitlines()
    assert sorted(line.split()[0] for line in labels) == ["0", "1", "2"]
