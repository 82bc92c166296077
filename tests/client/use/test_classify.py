"""`flower-client classify`, as a person runs it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from fedshelf.client.main import app
from tests.helpers.saved_models import save_model

run = CliRunner().invoke


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "model", class_names=("Boots", "Hats", "Shirts")))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Three photos a class, each with a light and a dark side."""
    row = np.linspace(0, 255, 48).astype(np.uint8)
    for label in ("boot", "hat"):
        (tmp_path / "shop" / label).mkdir(parents=True)
        for tint in range(3):
            photo = np.broadcast_to(row[None, :, None], (48, 48, 3)).copy()
            photo[..., tint] //= 2
            Image.fromarray(photo).save(tmp_path / "shop" / label / f"{tint}.png")
    return tmp_path / "shop"


def test_each_photo_gets_a_line_and_the_rest_is_summed_up(model: str, shop: Path) -> None:
    (shop / "hat" / "note.txt").write_text("no photo")
    result = run(app, ["classify", model, str(shop), "--top", "2"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("shop/boot/")
    assert lines[0].count("%") == 2
    assert "6 photos: " in result.stderr
    assert "6 lie in folders of their classes" in result.stderr
    assert "note.txt (no photo, by its name)" in result.stderr


def test_tables_and_json_say_the_same(model: str, shop: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    columns = tmp_path / "out.parquet"
    result = run(
        app,
        ["classify", model, str(shop), "--json", "--csv", str(table), "--parquet", str(columns)],
    )
    told = [json.loads(line) for line in result.stdout.splitlines()]
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert [row["photo"] for row in rows] == [photo["photo"] for photo in told]
    assert [row["class_1"] for row in rows] == [photo["guesses"][0]["class"] for photo in told]
    assert {row["label"] for row in rows} == {"Boots", "Hats"}
    assert parquet.read_table(columns).column("class_1").to_pylist() == [
        row["class_1"] for row in rows
    ]
    for photo in told:
        assert sum(guess["probability"] for guess in photo["guesses"]) == pytest.approx(1)


def test_a_limit_makes_all_unsure(model: str, shop: Path) -> None:
    result = run(app, ["classify", model, str(shop), "--unsure-below", "1"])
    assert "0 sure, 6 unsure, 0 unknown" in result.stderr
