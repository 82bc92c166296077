"""`train.precision=auto` becomes the faster arithmetic, which is measured at most once."""

import json
import tomllib
from pathlib import Path

import pytest
import torch

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.system.device import has_bfloat16
from fedshelf.server.settings.precision import keep_float32, settle_precision
from fedshelf.server.training.setup import settle
from tests.helpers.image_cache import cache_folder
from tests.helpers.simulation_command import SMALL, run

__all__ = ["cache_folder"]
has_hardware = has_bfloat16(torch.device("cpu"))


def asked(**settings: object) -> RunConfig:
    return settle(resolve({"run.device": "cpu", "train.precision": "auto"}, settings), None, 3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "own-cache"))
    return tmp_path / "own-cache"


def test_a_small_network_stays_float32_and_nothing_is_measured(cache: Path) -> None:
    config, told = settle_precision(asked(), 3)
    assert config.train.precision == "float32"
    assert told == "" or not has_hardware
    assert not (cache / "precision").exists()


@pytest.mark.parametrize("chosen", ["float32", "mixed"])
def test_a_settled_precision_stays(chosen: str, cache: Path) -> None:
    config = asked(**{"train.precision": chosen, "model.name": "resnet18"})
    assert settle_precision(config, 3) == (config, "")
    assert keep_float32(config) == (config, "")
    assert not (cache / "precision").exists()


@pytest.mark.skipif(not has_hardware, reason="this CPU has no bfloat16")
@pytest.mark.slow(minutes=0.2)
def test_a_measurement_is_kept_and_decides(cache: Path) -> None:
    config = asked(**{"model.name": "resnet18", "train.batch_size": 2})
    first, told = settle_precision(config, 3)
    assert first.train.precision in ("float32", "mixed")
    assert "images/s in bfloat16" in told
    (kept,) = (cache / "precision").iterdir()
    # mixed has to be faster by a tenth
    for rates, expected in (
        ({"float32": 100.0, "mixed": 109.0}, "float32"),
        ({"float32": 100.0, "mixed": 111.0}, "mixed"),
    ):
        kept.write_text(json.dumps(rates))
        assert settle_precision(config, 3)[0].train.precision == expected
    other_batch = asked(**{"model.name": "resnet18", "train.batch_size": 3})
    settle_precision(other_batch, 3)
    assert len(list((cache / "precision").iterdir())) == 2
    kept.write_text("{")  # damaged: measured anew
    settle_precision(config, 3)
    assert set(json.loads(kept.read_text())) == {"float32", "mixed"}


def test_stores_elsewhere_keep_float32_and_it_is_said() -> None:
    config, told = keep_float32(asked())
    assert config.train.precision == "float32"
    assert "--set train.precision=mixed" in told


def test_the_choice_stands_in_the_runs_configuration(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("run", *SMALL, "--rounds", "1", "--set", "train.precision=auto", "--out", out)
    assert done.returncode == 0, done.stderr
    settings = tomllib.loads((out / "config.toml").read_text())
    assert settings["train"]["precision"] == "float32"
