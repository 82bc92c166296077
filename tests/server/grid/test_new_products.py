"""Real stores teach a finished model a product that none of them had: messages, policies and all,
but no network.
"""

from pathlib import Path

import pytest

from fedshelf.client.policy.policy import Policy
from tests.helpers.grid_training import SETTINGS, store, trained


def test_a_finished_model_is_taught_a_new_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    small = SETTINGS | {"model.name": "niid-cnn", "data.image_size": 16}
    sold = {"oslo": ("boot", "hat"), "rome": ("hat",)}
    stores = [store(name, classes, tmp_path / "old", Policy()) for name, classes in sold.items()]
    was = trained(stores, tmp_path / "first", small)
    assert was["status"] == "finished"

    sold = {"oslo": ("boot", "hat"), "rome": ("boot", "hat", "mug"), "york": ("boot",)}
    # no matrix of its own, and no mask
    policies = {"york": Policy(metrics="accuracy", class_names=False)}
    stores = [
        store(name, sold[name], tmp_path / "new", policies.get(name, Policy())) for name in sold
    ]
    more = SETTINGS | {
        "model.resume_from": str(tmp_path / "first" / "model.safetensors"),
        "run.rounds": 4,
    }
    found = trained(stores, tmp_path / "second", more)
    # the old ones in their order, then what is new
    assert found["model"]["classes"] == ["boot", "hat", "mug"]
    old = found["old_classes"]
    assert (old["on"], old["new"], old["images"]) == ("stores", ["mug"], 32)  # of oslo and rome
    # nearly the same photos as before
    assert old["before"] == pytest.approx(was["test"]["accuracy"], abs=0.1)
    assert old["after"] > 0.9
    assert old["new_after"] > 0.9
    assert found["resumed_from"]["run_id"] == (tmp_path / "first" / "run-id").read_text()
