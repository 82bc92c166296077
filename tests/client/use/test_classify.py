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
from tests.helpers import heic
from tests.helpers.saved_models import save_model
from tests.helpers.videos import picture, save_colour_model, write_video

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


def test_a_video_is_a_row_with_what_is_seen_when(tmp_path: Path) -> None:
    model = str(save_colour_model(tmp_path / "model"))
    shop = tmp_path / "shop"
    shop.mkdir()
    picture("blue").save(shop / "1.png")
    write_video(shop / "2.mp4", [picture(colour) for colour in ["red"] * 3 + ["grey"] * 2])
    (shop / "3.mp4").write_text("#EXTM3U\n")
    table = tmp_path / "out.csv"
    result = run(app, ["classify", model, str(shop), "--json", "--csv", str(table)])
    photo, video = [json.loads(line) for line in result.stdout.splitlines()]
    assert photo["guesses"][0]["class"] == "blue"
    assert "seen" not in photo
    assert video["guesses"][0]["class"] == "red"
    assert video["guesses"][0]["probability"] == pytest.approx(3 / 5, abs=0.02)
    assert video["verdict"] == "sure"
    assert video["seen"] == [
        {"from": 0, "to": 2, "what": "red"},
        {"from": 3, "to": 4, "what": "grey"},
    ]
    assert [row["seen"] for row in csv.DictReader(table.open(encoding="utf-8"))] == [
        "",
        "red 0:00:00.0 to 0:00:02.0; grey 0:00:03.0 to 0:00:04.0",
    ]
    assert "1 photo and 1 video: 2 sure" in result.stderr
    assert "shop/3.mp4 (is an HLS playlist" in result.stderr
    longer = run(app, ["classify", model, str(shop / "2.mp4"), "--every", "2"])
    assert "red 0:00:00.0 to 0:00:02.0, grey 0:00:04.0 to 0:00:04.0" in longer.stdout


def _files(folder: Path, colour: str) -> None:
    """Write the same picture in many forms; `plain.png` is the one to compare with."""
    shown = picture(colour)
    folder.mkdir()
    shown.save(folder / "plain.png")
    shown.save(folder / "photo.jpg", quality=95)
    shown.save(folder / "photo.avif")
    shown.save(folder / "photo.webp")
    shown.save(folder / "photo.tif")
    shown.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    shown.convert("CMYK").save(folder / "cmyk.tif")
    shown.convert("P").save(folder / "palette.gif")
    shown.convert("RGBA").save(folder / "alpha.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn clockwise
    shown.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=turned, quality=95)


@pytest.mark.parametrize("colour", ["red", "blue"])
def test_all_kinds_of_photo_files_have_the_class_of_the_plain_one(
    colour: str, tmp_path: Path
) -> None:
    model = str(save_colour_model(tmp_path / "model"))
    _files(tmp_path / "photos", colour)
    result = run(app, ["classify", model, str(tmp_path / "photos"), "--json"])
    told = {line["photo"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert len(told) == 10, result.stderr
    assert {line["guesses"][0]["class"] for line in told.values()} == {colour}
    assert {line["verdict"] for line in told.values()} == {"sure"}


def test_heic_and_sixteen_bits_have_the_class_of_the_plain_photo(tmp_path: Path) -> None:
    """All are the grey squares of the HEIC photos, as nothing here writes others."""
    shown = np.repeat(np.repeat(np.array(heic.SQUARES, np.uint8), 16, axis=0), 16, axis=1)
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(shown).save(folder / "plain.png")
    Image.fromarray(shown.astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(shown.astype(np.uint16) * 257).save(folder / "deep.tif")
    (folder / "plain.heic").write_bytes(heic.PLAIN)
    (folder / "turned.heic").write_bytes(heic.TURNED)
    model = str(save_model(tmp_path / "model", seed=3))
    result = run(app, ["classify", model, str(folder), "--json"])
    told = {line["photo"]: line for line in map(json.loads, result.stdout.splitlines())}
    assert len(told) == 5, result.stderr
    plain = told["photos/plain.png"]["guesses"]
    for line in told.values():
        assert [guess["class"] for guess in line["guesses"]] == [guess["class"] for guess in plain]
        for guess, wanted in zip(line["guesses"], plain, strict=True):
            assert guess["probability"] == pytest.approx(wanted["probability"], abs=0.02)


def test_help_explains_the_arguments() -> None:
    told = run(app, ["classify", "--help"], env={"COLUMNS": "200"}).stdout
    assert "The directory of a run" in told
    assert "folders of photos" in told
