"""The two files of a model for use belong together, from the run to the order that delivers it."""

import hashlib
import json
from pathlib import Path

import pytest

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import RunError
from fedshelf.common.models.model_file import is_described_by
from fedshelf.server.results.checkpoints import Best
from fedshelf.server.results.model_export import model_order, rename_model
from fedshelf.server.results.past_rounds import export_round
from tests.helpers.model_files import description_beside, description_in
from tests.helpers.past_run import filling, run_of, start_of


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder."""
    run = run_of(tmp_path / "run", start_of(data__denoise=3), Best(4, 0.9, 0.9, "validation"))
    return export_round(run, "best", tmp_path / "model").path.parent


def test_a_model_says_all_that_is_needed_to_decode_photos_alike(model: Path) -> None:
    told = description_beside(model / "model.safetensors")
    assert (told["denoise"], told["temperature"], told["energy_threshold"]) == (3, 1.0, None)
    assert {"name", "classes", "image_size", "channels", "mean", "std"} <= told.keys()


def test_a_model_names_its_photos_without_the_folders_of_the_machine(tmp_path: Path) -> None:
    start = start_of(data__dataset=str(tmp_path / "private" / "shop"))
    run = run_of(tmp_path / "run", start, Best(4, 0.9, 0.9, "validation"))
    made = export_round(run, "best", tmp_path / "model").path
    assert description_beside(made)["provenance"]["dataset"] == "shop"
    assert str(tmp_path).encode() not in made.read_bytes()


def test_other_names_of_the_classes_are_in_both_files(model: Path) -> None:
    before = description_in(model / "model.safetensors")
    sha256 = rename_model(model, {"boot": "Stiefel"})
    file = model / "model.safetensors"
    assert description_in(file) == description_beside(file)
    assert description_in(file) == before | {"class_names": ["Stiefel", "hat"]}
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert filling(model) == {4.0}
    rename_model(model, {})
    assert description_in(file) == before


def test_an_order_has_both_files_and_none_is_made_of_files_that_differ(model: Path) -> None:
    order = model_order(model, RunConfig(), model)
    assert order.content == (model / "model.safetensors").read_bytes()
    assert is_described_by(order.content, json.loads(order.description))
    told = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(told | {"temperature": 3.0}))
    with pytest.raises(RunError, match=r"does not agree with .* one of them was"):
        model_order(model, RunConfig(), model)
    (model / "model.json").write_text(json.dumps(told | {"sha256": "0" * 64}))
    with pytest.raises(RunError, match=r"is not the model that the model\.json beside it names"):
        model_order(model, RunConfig(), model)
    (model / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="There is no whole model"):
        model_order(model, RunConfig(), model)
