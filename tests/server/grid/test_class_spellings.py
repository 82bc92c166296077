"""Real stores that spell one product in two ways, over messages, but no network."""

from pathlib import Path

import pytest

from fedshelf.client.policy.policy import Policy
from fedshelf.common.errors import DataError
from tests.helpers.grid_training import SETTINGS, store, trained

SMALL = SETTINGS | {
    "model.name": "niid-cnn",
    "data.image_size": 16,
    "run.rounds": 1,
    "train.epochs": 1,
}
SOLD = {"oslo": ("boot", "hat"), "rome": ("boot", "Hat ")}


def test_two_spellings_stop_the_run_or_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    stores = [store(name, classes, tmp_path, Policy()) for name, classes in SOLD.items()]
    with pytest.raises(
        DataError, match=r"'Hat ' \(rome\) and 'hat' \(oslo\); expected one spelling"
    ):
        trained(stores, tmp_path / "refused", SMALL)
    found = trained(stores, tmp_path / "merged", SMALL | {"data.merge_spellings": True})
    # as many photos of either spelling, and the first in order
    assert found["model"]["classes"] == ["Hat ", "boot"]
    assert sorted(found["per_store"]) == ["oslo", "rome"]
    # 8 test photos of each class at each store
    assert sum(map(sum, found["test"]["confusion"])) == 32
    given = trained(
        stores,
        tmp_path / "given",
        SMALL | {"data.merge_spellings": True, "data.classes": "hat,boot"},
    )
    assert given["model"]["classes"] == ["hat", "boot"]
    assert [sum(row) for row in given["test"]["confusion"]] == [16, 16]
