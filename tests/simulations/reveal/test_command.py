"""`flower-simulation reveal` on small stores, where an update is an open book."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.simulations.main import app
from tests.helpers.saved_models import save_model, spec_of

run = CliRunner().invoke
SMALL = ["--dataset", "shelf", "--set", "data.image_size=16", "--stores", "4", "--images", "16"]


def test_a_small_store_is_an_open_book(tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ["--model", "niid-cnn", "--epochs", "1", "--batch-size", "64", "--out", str(out)]
    result = run(app, ["reveal", *SMALL, *settings])
    assert result.exit_code == 0, result.output
    told = json.loads((out / "reveal.json").read_text())
    assert told["images"] == 16
    assert told["classes"]["error"] < told["classes"]["guessing"]
    assert told["membership"]["auc"] > 0.5
    assert told["membership"]["named"]["1"] == 1, "its change has the direction of no other photo"
    assert [each["photos"] for each in told["inversion"]] == [1, 8]
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 * (1 + 8)


def test_sums_in_closed_form_are_attacked_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    backbone = save_model(tmp_path / "backbone", spec_of("niid-cnn", size=16))
    frozen = ["--model", "niid-cnn", "--weights", str(backbone / WEIGHTS_FILE)]
    frozen += ["--set", "model.freeze=backbone", "--strategy", "prototypes"]
    result = run(app, ["reveal", *SMALL, *frozen, "--out", str(out)])
    assert result.exit_code == 0, result.output
    told = json.loads((out / "reveal.json").read_text())
    assert told["classes"]["error"] < 0.1, "the sums count the images of each class"
    assert told["inversion"] == []
    assert "stores send sums over features" in result.stdout


@pytest.mark.parametrize(("images", "words"), [("7", "expected 8 to"), ("999999", "expected 8 to")])
def test_a_store_of_an_impossible_size_is_refused(tmp_path: Path, images: str, words: str) -> None:
    from fedshelf.common.errors import ConfigError

    result = run(
        app, ["reveal", *SMALL[:-1], images, "--model", "niid-cnn", "--out", str(tmp_path / "out")]
    )
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)
