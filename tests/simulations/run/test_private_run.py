"""Private training in a simulation."""

from pathlib import Path

import pytest
from rich.console import Console

from fedshelf.simulations.run.simulate import SimulationRequest, simulate
from tests.helpers.deployed import draw_photos


def test_a_folder_called_stores_is_no_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stores` is also the word by which a deployment's settings name the stores' own photos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    for seed, name in enumerate(("oslo", "rome")):
        draw_photos(tmp_path / "stores" / name, ["boot", "hat"], 6, seed)
    settings = {
        "data.dataset": "stores", "data.partition": "folder", "data.image_size": 16,
        "model.name": "niid-cnn", "run.rounds": 1, "run.workers": 1, "run.out": "run",
        "privacy.clip": 1.0, "privacy.noise": 1.0, "privacy.rate": 0.5, "privacy.steps": 1,
    }  # fmt: skip
    summary = simulate(SimulationRequest(settings, False, 0.0), Console(quiet=True))
    assert summary["photo_privacy"]["epsilon"] > 0
