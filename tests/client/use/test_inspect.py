"""`flower-client inspect`, as a person runs it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fedshelf.client.main import app
from fedshelf.common.errors import ConfigError, DataError
from tests.helpers.saved_models import save_model

run = CliRunner().invoke


def draw(folder: Path, number: int, scratch: int = 0) -> None:
    """A light piece on dark ground; each has another noise, and a scratch so many pixels wide."""
    generator = np.random.default_rng([number, scratch])
    photo = np.full((48, 48, 3), 40, np.uint8)
    photo[12:36, 12:36] = 200
    photo[12:36, 20 : 20 + scratch] = (150, 0, 0)
    photo += generator.integers(0, 8, photo.shape, dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(folder / f"{number}.png")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "model"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for number in range(24):
        draw(tmp_path / "good", number)
    for number in range(4):
        draw(tmp_path / "defects/scratch", 100 + number, scratch=6)
        draw(tmp_path / "defects/hole", 200 + number, scratch=16)
        draw(tmp_path / "new", 300 + number, scratch=0 if number < 2 else 6)
    return tmp_path


def verdicts(output: str) -> list[str]:
    return [json.loads(line)["verdict"] for line in output.splitlines()]


def test_pieces_unlike_the_good_ones_are_unusual(model: str, shop: Path) -> None:
    command = ["inspect", model, str(shop / "new"), "--good", str(shop / "good"), "--json"]
    result = run(app, command)
    assert result.exit_code == 0, result.output
    assert verdicts(result.stdout)[2:] == ["unusual"] * 2
    assert "24 good pieces, each compared with the others: 0 beyond the limit" in result.stderr
    assert "0.0% to 13.8% (95%) will be reported as unusual" in result.stderr  # Wilson, 0 of 24


def test_known_defects_are_named(model: str, shop: Path) -> None:
    table = shop / "table.csv"
    command = ["inspect", model, str(shop / "new"), "--good", str(shop / "good")]
    command += ["--defects", str(shop / "defects"), "--csv", str(table)]
    result = run(app, command)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["defect"] for row in rows] == ["", "", "scratch", "scratch"]
    assert "303.png: scratch (distance" in result.stdout
    assert "Each piece judged by all others: 32 of 32 right" in result.stderr
    assert "0 of 8 defects taken for good" in result.stderr


def test_defects_of_one_kind_need_no_sub_folder(model: str, shop: Path) -> None:
    command = ["inspect", model, str(shop / "new"), "--good", str(shop / "good"), "--json"]
    result = run(app, [*command, "--defects", str(shop / "defects/scratch")])
    assert verdicts(result.stdout)[2:] == ["defect"] * 2
    draw(shop / "defects", 400, scratch=6)
    mixed = run(app, [*command, "--defects", str(shop / "defects")])
    assert isinstance(mixed.exception, DataError)
    assert "beside its sub-folders" in str(mixed.exception)


def test_too_few_good_pieces_are_refused(model: str, shop: Path) -> None:
    command = ["inspect", model, str(shop / "new"), "--good", str(shop / "good")]
    result = run(app, [*command, "--false-alarms", "0.01"])
    assert isinstance(result.exception, DataError)
    assert "at least 99" in str(result.exception)
    assert isinstance(run(app, [*command, "--false-alarms", "1"]).exception, ConfigError)


def test_inspecting_the_good_pieces_themselves_is_told(model: str, shop: Path) -> None:
    command = ["inspect", model, str(shop / "good"), "--good", str(shop / "good")]
    assert "24 photos to inspect also in" in run(app, command).stderr
