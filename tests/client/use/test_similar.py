"""`flower-client index` and `similar`, as a person runs them."""

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from fedshelf.client.main import app
from tests.helpers.client_command import refused
from tests.helpers.saved_models import save_model

run = CliRunner().invoke


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "model"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "hat").mkdir(parents=True)
    for number in range(12):
        image = Image.new("RGB", (48, 48), (20 * number, 0, 100))
        image.paste((255, 255, 0), (0, 0, 4 * number + 2, 24))
        image.save(tmp_path / "shop" / "hat" / f"{number:02}.png")
    return tmp_path / "shop"


def test_photos_are_found_and_shown(model: str, shop: Path, tmp_path: Path) -> None:
    index = str(tmp_path / "shop.index")
    made = run(app, ["index", model, str(shop), "--out", index])
    assert made.exit_code == 0, made.output
    assert "12 photos of" in made.stdout
    assert "12 added, 0 changed, 0 removed" in made.stdout
    photo = str(shop / "hat" / "05.png")
    sheet = tmp_path / "sheet.html"
    found = run(
        app,
        ["similar", model, photo, "--index", index, "--json", "--top", "3", "--html", str(sheet)],
    )
    assert found.exit_code == 0, found.output
    told = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(told) == 3
    assert "shop/hat/05.png" not in {match["photo"] for match in told}
    similarities = [match["similarity"] for match in told]
    assert similarities == sorted(similarities, reverse=True)
    assert sheet.read_text(encoding="utf-8").count("<img ") == 4
    both = run(app, ["similar", model, "--like", f"{photo}:2", photo, "--index", index])
    assert both.stdout.splitlines()[0].endswith(told[0]["photo"])


def test_classify_takes_the_index(model: str, shop: Path, tmp_path: Path) -> None:
    index = str(tmp_path / "shop.index")
    run(app, ["index", model, str(shop), "--out", index])
    told = run(app, ["classify", model, str(shop), "--index", index, "--unsure-below", "0"])
    assert told.exit_code == 0, told.output
    assert "12 photos: 12 sure, 0 unsure, 0 unknown." in told.stderr
    other = str(save_model(tmp_path / "other", seed=1))
    assert "made by another model" in refused(
        tmp_path, 3, "classify", other, str(shop), "--index", index
    )
    helped = run(app, ["classify", other, str(shop), "--index", index, "--features", model])
    assert helped.exit_code == 0, helped.output


def test_mistakes_are_one_sentence(model: str, shop: Path, tmp_path: Path) -> None:
    index = tmp_path / "shop.index"
    photo = str(shop / "hat" / "05.png")
    assert "There is no index" in refused(
        tmp_path, 3, "similar", model, photo, "--index", str(index)
    )
    assert "There is no folder" in refused(
        tmp_path, 3, "index", model, "nowhere", "--out", str(index)
    )
    assert run(app, ["index", model, str(shop), "--out", str(index)]).exit_code == 0
    arguments = ("--index", str(index))
    assert "got no photo" in refused(tmp_path, 2, "similar", model, *arguments)
    assert "its weight" in refused(tmp_path, 2, "similar", model, "--like", photo, *arguments)
    assert "cannot be used" in refused(tmp_path, 3, "similar", model, "nothing.png", *arguments)
    assert "--index" in refused(tmp_path, 2, "classify", model, photo, "--features", model)
    index.write_bytes(index.read_bytes()[:-1])
    assert "damaged" in refused(tmp_path, 3, "similar", model, photo, *arguments)
