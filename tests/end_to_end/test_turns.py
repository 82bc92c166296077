"""Stores whose photos mostly have no class: first their turns, then their classes, in processes of
their own.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.deployed import draw_photos, free_port, history, summary
from tests.helpers.deployment_fixtures import Starter


@pytest.mark.slow
def test_real_stores_start_from_what_photos_without_a_class_taught(
    command: Starter, tmp_path: Path
) -> None:
    port = free_port()
    stores = []
    for seed, name in enumerate(("near", "far")):
        folder = draw_photos(tmp_path / name, ["boot", "hat"], per_class=10, seed=seed)
        draw_photos(folder / "unlabelled", ["a"], per_class=40, seed=seed + 10)
        stores.append(command.store(folder, port))
    test = [
        "--test-data",
        str(draw_photos(tmp_path / "test", ["boot", "hat"], per_class=5, seed=7)),
    ]
    common = [
        "--stores",
        "2",
        "--rounds",
        "1",
        "--model",
        "cnn",
        "--set",
        "data.image_size=32",
        *test,
    ]
    turns = tmp_path / "turns"
    classes = tmp_path / "classes"
    first = command.server(turns, port, *common, "--set", "train.objective=turns")
    assert first.ends() == 0, first.text
    assert json.loads((turns / "model.json").read_text())["classes"][1] == "90 degrees"
    assert summary(turns)["test"]["images"] == 10
    assert all(record["images"] > 20 for record in history(turns)[0]["stores"].values())
    weights = turns / "model.safetensors"
    frozen = ["--set", "model.freeze=backbone"]
    second = command.server(classes, port, *common, "--weights", str(weights), *frozen)
    assert second.ends() == 0, second.text
    assert json.loads((classes / "model.json").read_text())["classes"] == ["boot", "hat"]
    before = load_file(weights)
    after = load_file(classes / "model.safetensors")
    assert all(
        torch.equal(after[name], before[name]) for name in before if before[name].shape[0] != 4
    )
