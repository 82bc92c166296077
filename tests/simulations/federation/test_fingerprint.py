"""Fingerprints of stores' images: equal for equal images, and differences in words."""

import io
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fedshelf.common.errors import DataError
from fedshelf.common.images.types import Images, StoreData
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.fingerprint import changes, fingerprint_of
from fedshelf.simulations.run.simulate import SimulationRequest, simulate
from tests.helpers.product_photos import photos
from tests.helpers.simulation_command import history

LABELS = torch.tensor([0, 0, 1, 1, 0])


def images(pixels: torch.Tensor, rows: list[int]) -> Images:
    return Images(pixels, LABELS, torch.tensor(rows))


def federation(pixels: torch.Tensor, rows: list[int]) -> Federation:
    """A store with these rows of 5 images, the last one for validation, and the third as the
    server's test.
    """
    store = StoreData(images(pixels, rows), images(pixels, [4]), images(pixels, []))
    return Federation(("hat", "boot"), {"oslo": store}, images(pixels, [2]), {"oslo": [2, 2]}, "")


PIXELS = torch.arange(5 * 48, dtype=torch.uint8).reshape(5, 4, 4, 3)
BEFORE = fingerprint_of(federation(PIXELS, [0, 1, 2, 3]))


def test_equal_images_have_an_equal_fingerprint() -> None:
    assert fingerprint_of(federation(PIXELS.clone(), [0, 1, 2, 3])) == BEFORE
    assert [split["classes"].keys() for split in BEFORE["oslo"].values()] == [
        {"hat", "boot"},
        {"hat"},
    ]
    assert BEFORE["oslo"]["train"]["classes"]["boot"][0] == 2
    assert BEFORE["the server"]["test"]["classes"].keys() == {"boot"}
    assert not changes(BEFORE, BEFORE)


def test_what_differs_is_told_by_store_split_and_class() -> None:
    fewer = fingerprint_of(federation(PIXELS, [0, 1, 2]))
    assert changes(BEFORE, fewer) == ["oslo (train: boot 1 instead of 2)"]
    assert changes(fewer, BEFORE) == ["oslo (train: boot 2 instead of 1)"]
    other = PIXELS.clone()
    other[2, 0, 0, 0] += 1  # one value of one pixel
    assert changes(BEFORE, fingerprint_of(federation(other, [0, 1, 2, 3]))) == [
        "oslo (train: boot 2 images as before, but not the same)",
        "the server (test: boot 1 image as before, but not the same)",
    ]
    turned = fingerprint_of(federation(PIXELS, [1, 0, 2, 3]))
    assert changes(BEFORE, turned) == ["oslo (train: the same images in another order)"]
    moved = replace(
        federation(PIXELS, [0, 1, 2, 3]), stores={"rome": federation(PIXELS, [0, 1]).stores["oslo"]}
    )
    assert changes(BEFORE, fingerprint_of(moved)) == [
        "oslo (train: boot 0 instead of 2, hat 0 instead of 2; validation: hat 0 instead of 1)",
        "rome (train: hat 2 instead of 0; validation: hat 1 instead of 0)",
    ]


def resume(settings: dict[str, Any], rounds: int, *, changed_data: bool = False) -> None:
    asked = {"run.out": settings["run.out"], "run.rounds": rounds}
    simulate(
        SimulationRequest(asked, True, time.perf_counter(), changed_data),
        Console(file=io.StringIO()),
    )


def test_other_photos_than_before_are_refused_unless_that_is_said(tmp_path: Path) -> None:
    chain = tmp_path / "chain"
    out = tmp_path / "run"
    # of each of 3 classes, 16 to train on, 4 for validation, 6 to test
    for name in ("paris", "rome"):
        photos(chain / name)
    settings = {
        "data.dataset": str(chain), "data.partition": "folder", "model.name": "niid-cnn",
        "train.epochs": 1, "run.rounds": 1, "run.out": str(out), "run.workers": 1,
    }  # fmt: skip
    simulate(SimulationRequest(settings, False, time.perf_counter()), Console(file=io.StringIO()))
    began = (out / "data.json").read_text()
    resume(settings, 1)
    (chain / "rome" / "train" / "hat" / "3.png").unlink()
    shutil.rmtree(chain / "rome" / "validation" / "shoe")
    told = "rome (train: hat 15 instead of 16; validation: shoe 0 instead of 4)"
    with pytest.raises(DataError) as refused:
        resume(settings, 2)
    assert f"changed since it began, 151 images where there were 156: {told}." in str(refused.value)
    assert "--changed-data" in str(refused.value)
    assert (len(history(out)), (out / "data.json").read_text()) == (1, began)
    resume(settings, 2, changed_data=True)
    assert [record.get("changed_data") for record in history(out)] == [None, [told]]
    resume(settings, 3)
    assert "changed_data" not in history(out)[2]
