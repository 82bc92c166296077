"""`flower-client explain`, as a person runs it."""

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
    return str(save_model(tmp_path / "model", class_names=("Boots", "Hats", "Shirts")))


@pytest.fixture
def photo(tmp_path: Path) -> str:
    (tmp_path / "shop").mkdir()
    for number in range(4):
        image = Image.new("RGB", (60, 40), (240, 240, 240))
        image.paste((200, 0, 40 * number), (5, 5, 25, 20))
        image.save(tmp_path / "shop" / f"{number}.png")
    return str(tmp_path / "shop" / "0.png")


@pytest.mark.parametrize("method", ["occlusion", "grad-cam"])
def test_a_picture_and_a_sentence(model: str, photo: str, tmp_path: Path, method: str) -> None:
    out = tmp_path / "heat.png"
    told = run(
        app,
        ["explain", model, photo, "--out", str(out), "--class", "Hats", "--method", method],
    )
    assert told.exit_code == 0, told.output
    assert told.stdout.startswith("0.png: Hats ")
    assert told.stdout.endswith(".\n")
    assert told.stderr == f"Picture: {out}\n"
    with Image.open(out) as picture:
        assert (picture.format, picture.size) == ("PNG", (768, 512))


def test_the_nearest_photos_are_shown_from_the_index(
    model: str, photo: str, tmp_path: Path
) -> None:
    index = str(tmp_path / "shop.index")
    assert run(app, ["index", model, str(tmp_path / "shop"), "--out", index]).exit_code == 0
    out = tmp_path / "heat.png"
    told = run(app, ["explain", model, photo, "--out", str(out), "--index", index])
    assert told.exit_code == 0, told.output
    page = out.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("<img ") == 5  # the photo, its map, and the three others
    assert told.stdout.strip() in page


def test_mistakes_are_one_sentence(model: str, photo: str, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "heat.png"))
    wrong = refused(tmp_path, 2, "explain", model, photo, "--class", "Hat", *out)
    assert "Did you mean Hats?" in wrong
    assert ".png" in refused(tmp_path, 2, "explain", model, photo, "--out", "heat.gif")
    assert "cannot be used" in refused(tmp_path, 3, "explain", model, "nothing.png", *out)
    two = f"{model},{model}"
    told = refused(tmp_path, 2, "explain", two, photo, "--method", "grad-cam", *out)
    assert "--method occlusion" in told
    assert not (tmp_path / "heat.png").exists()
