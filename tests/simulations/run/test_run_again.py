"""The `config.toml` of a run gives the same run again, in another place and on other photos."""

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.helpers.photo_files import store
from tests.helpers.simulation_command import SMALL, run, summary

PHOTOS = [
    "--stores",
    "2",
    "--model",
    "niid-cnn",
    "--rounds",
    "1",
    "--epochs",
    "1",
    "--set",
    "data.image_size=16",
]


def test_the_same_run_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "first"
    assert (
        run("run", *SMALL, "--rounds", "1", "--set", "run.name=mine", "--out", first).returncode
        == 0
    )
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(first / "config.toml", tmp_path / "elsewhere" / "settings.toml")
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = run("run", "--config", "settings.toml")
    assert done.returncode == 0, done.stderr
    (again,) = (tmp_path / "elsewhere" / "runs").iterdir()
    assert again.name == "shelf-niid-cnn-fedavg"
    assert summary(again)["weights_sha256"] == summary(first)["weights_sha256"]


def test_on_photos_of_other_products(tmp_path: Path) -> None:
    store(tmp_path / "a", {"hat": 30, "boot": 30})
    store(tmp_path / "b", {"lamp": 30, "cup": 30, "chair": 30}, first_seed=60)
    assert (
        run("run", "--dataset", tmp_path / "a", *PHOTOS, "--out", tmp_path / "first").returncode
        == 0
    )
    config = tmp_path / "first" / "config.toml"
    done = run("run", "--config", config, "--dataset", tmp_path / "b", "--out", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    settings = [
        tomllib.loads((tmp_path / name / "config.toml").read_text()) for name in ("first", "second")
    ]
    assert [each["data"]["classes"] for each in settings] == [
        ["boot", "hat"],
        ["chair", "cup", "lamp"],
    ]
    assert settings[1]["train"] == settings[0]["train"]


def test_classes_that_were_given_are_part_of_the_settings(tmp_path: Path) -> None:
    store(tmp_path / "photos", {"hat": 20, "boot": 20, "lamp": 20})
    given = ["--classes", "lamp,hat,boot", "--out", tmp_path / "first"]
    assert run("run", "--dataset", tmp_path / "photos", *PHOTOS, *given).returncode == 0
    done = run("run", "--config", tmp_path / "first" / "config.toml", "--out", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    assert (
        summary(tmp_path / "second")["weights_sha256"]
        == summary(tmp_path / "first")["weights_sha256"]
    )
