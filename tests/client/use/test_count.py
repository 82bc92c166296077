"""`flower-client count`, as a person runs it."""

import csv
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fedshelf.client.main import app
from fedshelf.common.errors import ConfigError, DataError
from tests.helpers.hand_made_models import write_colour_classifier, write_square_locator
from tests.helpers.saved_models import save_model

run = CliRunner().invoke


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "model", class_names=("Boots", "Hats", "Shirts")))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Six photos, one a day from 2026-11-20 on: even ones by EXIF, odd ones by the file's time."""
    (tmp_path / "shop").mkdir()
    row = np.linspace(0, 255, 48).astype(np.uint8)
    for number in range(6):
        photo = np.broadcast_to(row[None, :, None], (48, 48, 3)).copy()
        photo[..., number % 3] //= 2
        exif = Image.Exif()
        path = tmp_path / "shop" / f"{number}.jpg"
        if number % 2 == 0:
            exif.get_ifd(0x8769)[0x9003] = f"2026:11:{20 + number} 12:00:00"
        Image.fromarray(photo).save(path, exif=exif)
        time = datetime(2026, 11, 20 + number, 12).timestamp() if number % 2 else 0
        os.utime(path, (time, time))
    return tmp_path / "shop"


def test_every_photo_is_counted_once(model: str, shop: Path) -> None:
    result = run(app, ["count", model, str(shop), str(shop / "0.jpg"), "--unsure-below", "0.9"])
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows[:4]] == ["class", "Boots", "Hats", "Shirts"]
    counted = [int(row[1]) for row in rows[1:4]]
    assert rows[-3:-1] == [["(unsure)", str(6 - sum(counted))], ["(unknown)", "0"]]
    assert rows[-1] == ["(all", "photos)", "6"]


@pytest.mark.parametrize(
    ("options", "photos"),
    [
        (["--since", "2026-11-23"], 3),
        (["--until", "2026-11-23"], 4),
        (["--since", "2026-11-21", "--until", "2026-11-22T12:00"], 2),
        (["--until", "2026-11-22T11:59"], 2),
    ],
)
def test_a_period_takes_the_camera_s_time_or_else_the_file_s(
    options: list[str], photos: int, model: str, shop: Path
) -> None:
    result = run(app, ["count", model, str(shop), "--json", *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["photos"] == photos
    assert f"{photos} photos in the period, {6 - photos} outside" in result.stderr
    assert "The time of 3 is the camera's, that of 3 the file's" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--since", "yesterday"],
        ["--since", "2026-11-23T10:00+01:00"],
        ["--since", "2026-11-23", "--until", "2026-11-22"],
    ],
)
def test_an_impossible_period_is_refused(options: list[str], model: str, shop: Path) -> None:
    assert isinstance(run(app, ["count", model, str(shop), *options]).exception, ConfigError)


def test_an_empty_period_is_no_empty_stock(model: str, shop: Path) -> None:
    result = run(app, ["count", model, str(shop), "--since", "2030-01-01"])
    assert isinstance(result.exception, DataError)


def test_two_counts_are_compared(model: str, shop: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier.json"
    earlier.write_text(run(app, ["count", model, str(shop), "--json"]).stdout, encoding="utf-8")
    value = json.loads(earlier.read_text(encoding="utf-8"))
    for key in ("expected", "low", "high"):
        value["classes"][1][key] += 20
    earlier.write_text(json.dumps(value), encoding="utf-8")
    table = tmp_path / "table.csv"
    command = ["count", model, str(shop), "--compare", str(earlier), "--csv", str(table), "--json"]
    result = run(app, command)
    changes = json.loads(result.stdout)["changes"]
    assert [change["high"] < 0 for change in changes] == [False, True, False]
    assert f"Missing since {earlier}: Hats (" in result.stderr
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["kind"] for row in rows] == ["class"] * 3 + ["verdict"] * 2
    assert int(rows[1]["change_high"]) < 0


def test_another_file_is_not_compared(model: str, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "earlier.json").write_text("{", encoding="utf-8")
    command = ["count", model, str(shop), "--compare", str(tmp_path / "earlier.json")]
    assert isinstance(run(app, command).exception, DataError)


def test_products_on_shelves_are_counted_one_by_one(tmp_path: Path) -> None:
    """Two shelves of a red, a green and two blue squares, of which the classifier is sure."""
    locator = write_square_locator(tmp_path / "locator.onnx")
    classifier = str(write_colour_classifier(tmp_path / "model.onnx"))
    pixels = np.zeros((160, 160, 3), np.uint8)
    for place, channel in enumerate((0, 1, 2, 2)):
        pixels[50:66, 22 + 32 * place :][:, :16, channel] = 255
    shade = [63, 64, 65]  # a flat crop shows nothing
    pixels[shade] -= pixels[shade] // 6
    (tmp_path / "shelves").mkdir()
    for number in range(2):
        Image.fromarray(pixels).save(tmp_path / "shelves" / f"{number}.png")
    command = ["count", classifier, str(tmp_path / "shelves"), "--locator", str(locator)]
    result = run(app, command)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[:2] for row in rows[1:4]] == [["red", "2"], ["green", "2"], ["blue", "4"]]
    assert rows[-1] == ["(all", "products)", "8"]
    assert result.stderr.startswith("2 photos of shelves.")
    named = write_square_locator(tmp_path / "named.onnx", classes=("cherry", "leaf", "sky"))
    assert run(app, [*command[:-1], str(named)]).stdout == result.stdout  # the model names all
    told = json.loads(run(app, [*command, "--json", "--score", "1"]).stdout)
    assert (told["photos"], told["products"]) == (2, 0)
    with pytest.raises(ConfigError, match="give --locator MODEL"):
        run(app, ["count", classifier, str(tmp_path), "--tiles", "2"], catch_exceptions=False)
