"""A release is used as it was signed, or not at all."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedshelf.common.config import ModelConfig
from fedshelf.common.errors import DataError
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.onnx_predictor import OnnxPredictor
from fedshelf.common.models import initial_weights, saved
from fedshelf.common.names import ONNX_FILE, WEIGHTS_FILE
from fedshelf.common.release.keys import RELEASE_KEY_VARIABLE
from tests.helpers.released_models import save_release

PREDICT_WITHOUT_TORCH = """
import sys
from pathlib import Path
import numpy as np
from fedshelf.common.inference.loading import load
assert len(load(Path(sys.argv[1])).predict(np.zeros((2, 40, 50, 3), np.uint8))) == 2
assert "torch" not in sys.modules
"""

CONSUMERS: list[Callable[[Path], Any]] = [
    load,
    lambda folder: load(folder / ONNX_FILE),
    lambda folder: load(folder / WEIGHTS_FILE),
    saved.read,
    lambda folder: initial_weights(ModelConfig(weights=str(folder))),
    lambda folder: initial_weights(ModelConfig(weights=str(folder / WEIGHTS_FILE))),
]


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, public = save_release(tmp_path)
    monkeypatch.setenv(RELEASE_KEY_VARIABLE, public)
    return folder


def refused(folder: Path, words: str) -> None:
    for consumer in CONSUMERS:
        with pytest.raises(DataError, match=words):
            consumer(folder)


def test_every_consumer_takes_what_was_signed(release: Path) -> None:
    for consumer in CONSUMERS:
        assert consumer(release) is not None
    assert isinstance(load(release), OnnxPredictor)
    photos = np.full((2, 32, 32, 3), 90, np.uint8)
    np.testing.assert_allclose(
        load(release).predict(photos).probabilities,
        load(release / WEIGHTS_FILE, "cpu").predict(photos).probabilities,
        atol=1e-5,
    )


def test_torch_is_not_loaded_for_a_release(release: Path) -> None:
    subprocess.run([sys.executable, "-c", PREDICT_WITHOUT_TORCH, str(release)], check=True)


def test_a_release_without_a_pinned_key_is_refused(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(RELEASE_KEY_VARIABLE)
    refused(release, "which this machine does not trust .none is pinned here")


def test_files_that_were_added_or_are_missing_are_refused(release: Path, tmp_path: Path) -> None:
    (release / "notes.txt").write_text("mine")
    refused(release, r"has also notes\.txt")
    (release / "notes.txt").unlink()
    (release / "inner").mkdir()
    refused(release, "has also inner")
    (release / "inner").rename(release / "own")  # where a store puts its own version of the model
    assert load(release) is not None
    (release / "own").rmdir()
    for file in sorted(release.iterdir()):
        moved = file.rename(tmp_path / file.name)
        refused(release, f"lacks (its )?{file.name}|There is no model")
        file.symlink_to(moved)
        if file.name != "release.json":  # which is only read
            refused(release, f"{file.name} was changed")
        file.unlink()
        moved.rename(file)
    refused_nothing = [consumer(release) for consumer in CONSUMERS]
    assert None not in refused_nothing


def flip(release: Path, spoiled: Path, flips: int) -> None:
    """Refuse one changed byte after the other, in all files in turn."""
    draws = np.random.default_rng(0)
    files = sorted(release.iterdir())
    assert len(files) == 5
    shutil.copytree(release, spoiled)
    for number in range(flips):
        file = files[number % len(files)]
        content = bytearray(file.read_bytes())
        content[draws.integers(len(content))] ^= int(draws.integers(1, 256))
        (spoiled / file.name).write_bytes(content)
        consumer = CONSUMERS[number % len(CONSUMERS)]
        with pytest.raises(DataError, match=r"as it was signed|does not trust"):
            consumer(spoiled)
        shutil.copy(file, spoiled / file.name)


def test_a_flipped_byte_is_refused(release: Path, tmp_path: Path) -> None:
    flip(release, tmp_path / "spoiled", 70)


@pytest.mark.slow
def test_a_thousand_flipped_bytes_are_refused(release: Path, tmp_path: Path) -> None:
    flip(release, tmp_path / "spoiled", 1050)
