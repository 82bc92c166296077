"""Start from a model file: all of it trains, or its frozen backbone neither trains nor travels."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.simulations.command import run, summary

SMALL = ["--dataset", "shelf", "--stores", "3", "--model", "cnn", "--rounds", "1", "--seed", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert run("run", *SMALL, "--out", out).returncode == 0
    return out / "model.safetensors"


def test_a_frozen_backbone_stays_and_only_the_head_travels(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("run", *SMALL, "--set", f"model.weights={trained}", "--set", "model.freeze=backbone", "--out", out)
    assert done.returncode == 0, done.stderr
    before, after = load_file(trained), load_file(out / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    head = {name for name in before if before[name].shape[0] == 10}
    assert changed == head
    parameters = sum(before[name].numel() for name in head)
    assert summary(out)["parameters"] == parameters
    assert summary(out)["bytes"] == {"down": 3 * 4 * parameters, "up": 3 * 4 * parameters}


def test_training_goes_on_from_a_file(trained: Path, tmp_path: Path) -> None:
    fresh, warm = tmp_path / "fresh", tmp_path / "warm"
    assert run("run", *SMALL, "--seed", "2", "--out", fresh).returncode == 0
    assert run("run", *SMALL, "--seed", "2", "--set", f"model.weights={trained}", "--out", warm).returncode == 0
    assert summary(warm)["test"]["accuracy"] > summary(fresh)["test"]["accuracy"]
