"""`flower-simulation reveal` on small stores, where an update is an open book."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.simulations.main import app
from fedshelf.simulations.reveal.protections import (
    DEFAULT_PRIVACY,
    Privacy,
    with_privacy,
    without_privacy,
)
from tests.helpers.saved_models import save_model, spec_of

run = CliRunner().invoke
SMALL = ["--dataset", "shelf", "--set", "data.image_size=16", "--stores", "4", "--images", "16"]


@pytest.mark.slow
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
    # without protection and with noise; of the sum, eight of ten stores with a photo each
    assert page.count("data:image/png;base64,") == 2 * (1 + 8 + 1 + 8 + 8)
    private, summed = (told["protected"][key] for key in ("dp", "sum"))
    assert private["membership"]["epsilon"] < private["epsilon"]
    assert private["membership"]["auc"] < told["membership"]["auc"]
    assert private["membership"]["named"]["1"] < 1
    assert [len(each["decibels"]) for each in summed["inversion"]] == [10]


def frozen_backbone(tmp_path: Path) -> list[str]:
    backbone = save_model(tmp_path / "backbone", spec_of("niid-cnn", size=16))
    weights = str(backbone / WEIGHTS_FILE)
    return ["--model", "niid-cnn", "--weights", weights, "--set", "model.freeze=backbone"]


def test_a_head_is_attacked_without_protection_with_noise_and_in_a_sum(tmp_path: Path) -> None:
    out = tmp_path / "out"
    privacy = [f"privacy.{each}" for each in ("clip=1.0", "noise=2.0", "rate=0.5", "steps=2")]
    private = [part for setting in privacy for part in ("--set", setting)]
    result = run(app, ["reveal", *SMALL, *frozen_backbone(tmp_path), *private, "--out", str(out)])
    assert result.exit_code == 0, result.output
    told = json.loads((out / "reveal.json").read_text())
    private = told["protected"]["dp"]
    assert private["epsilon"] == epsilon([SampledGaussian(2.0, 0.5, 2)], 1e-5)
    assert private["membership"]["epsilon"] < private["epsilon"]
    assert private["settings"]["privacy.noise"] == 2.0
    assert told["settings"]["privacy.clip"] == 0
    assert told["protected"]["sum"]["stores"] == 10
    assert f"(epsilon {private['epsilon']:.2f} at delta 1e-05 for this update" in result.stdout
    assert "In a secure sum of 10 stores alone" in result.stdout
    page = (out / "report.html").read_text()
    for title in ("Without protection", "Differential privacy", "Secure sum"):
        assert f'<th class="n">{title}</th>' in page


def test_sums_in_closed_form_are_attacked_too(tmp_path: Path) -> None:
    out = tmp_path / "out"
    closed_form = [*frozen_backbone(tmp_path), "--strategy", "prototypes"]
    result = run(app, ["reveal", *SMALL, *closed_form, "--out", str(out)])
    assert result.exit_code == 0, result.output
    told = json.loads((out / "reveal.json").read_text())
    assert told["classes"]["error"] < 0.1, "the sums count the images of each class"
    assert told["inversion"] == []
    assert "stores send sums over features" in result.stdout
    assert set(told["protected"]) == {"sum"}
    assert "Not measured with differential privacy: " in result.stdout


def test_private_settings_are_measured_as_they_are_and_without() -> None:
    assert 2.5 < Privacy.of_update(DEFAULT_PRIVACY).epsilon < 3
    privacy = {"clip": 0.5, "noise": 1.5, "rate": 0.5, "steps": 3}
    given = without_privacy(with_privacy({"train.epochs": 3, "privacy.noise": 9.0}))
    assert given == {}
    settings = {"model.name": "cnn"} | {f"privacy.{key}": each for key, each in privacy.items()}
    assert with_privacy(settings) == settings
    assert without_privacy(settings) == {"model.name": "cnn"}


@pytest.mark.parametrize(("images", "words"), [("7", "expected 8 to"), ("999999", "expected 8 to")])
def test_a_store_of_an_impossible_size_is_refused(tmp_path: Path, images: str, words: str) -> None:
    from fedshelf.common.errors import ConfigError

    result = run(
        app, ["reveal", *SMALL[:-1], images, "--model", "niid-cnn", "--out", str(tmp_path / "out")]
    )
    assert isinstance(result.exception, ConfigError)
    assert words in str(result.exception)


def test_photos_of_scenes_are_refused() -> None:
    result = CliRunner().invoke(app, ["reveal", "--dataset", "shelf-scenes"])
    assert result.exit_code
    assert "got shelf-scenes, whose photos show many products" in str(result.exception)
