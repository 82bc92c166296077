"""Start from a model file: all of it trains, or its frozen backbone neither trains nor travels."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.simulation_command import history, run, summary

SMALL_IMAGES = ["--set", "data.image_size=16"]
SMALL = [
    *["--dataset", "shelf", "--stores", "3", "--model", "cnn", "--rounds", "1", "--seed", "1"],
    *SMALL_IMAGES,
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert run("run", *SMALL, "--out", out).returncode == 0
    return out / "model.safetensors"


def test_a_frozen_backbone_stays_and_only_the_head_travels(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("run", *SMALL, "--weights", trained, "--set", "model.freeze=backbone", "--out", out)
    assert done.returncode == 0, done.stderr
    before = load_file(trained)
    after = load_file(out / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    head = {name for name in before if before[name].shape[0] == 10}
    assert changed == head
    parameters = sum(before[name].numel() for name in head)
    assert summary(out)["parameters"] == parameters
    assert summary(out)["bytes"] == {"down": 3 * 4 * parameters, "up": 3 * 4 * parameters}


def test_training_goes_on_from_a_file(trained: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    warm = tmp_path / "warm"
    assert run("run", *SMALL, "--seed", "2", "--out", fresh).returncode == 0
    assert run("run", *SMALL, "--seed", "2", "--weights", trained, "--out", warm).returncode == 0
    assert summary(warm)["test"]["accuracy"] > summary(fresh)["test"]["accuracy"]


def test_the_last_block_trains_and_travels(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("run", *SMALL, "--weights", trained, "--set", "model.freeze=last:1", "--out", out)
    assert done.returncode == 0, done.stderr
    before = load_file(trained)
    after = load_file(out / "model.safetensors")
    stayed = [name for name in before if torch.equal(before[name], after[name])]
    # the third convolution is layer 8
    assert stayed == [name for name in before if int(name.partition(".")[0]) < 8]
    assert summary(out)["parameters"] == sum(
        before[name].numel() for name in before if name not in stayed
    )


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three stores, each with nine photos of ten without a class, and the server's test photos."""
    out = tmp_path_factory.mktemp("chain") / "shops"
    asked = [
        "--dataset",
        "shelf",
        "--stores",
        "3",
        "--test",
        "--labelled",
        "0.1",
        *SMALL_IMAGES,
    ]
    assert run("split", *asked, "--out", out).returncode == 0
    return out


@pytest.fixture(scope="module")
def first(shops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "turns"
    asked = [
        *photo_settings(shops),
        "--rounds",
        "2",
        "--set",
        "train.objective=turns",
        "--out",
        out,
    ]
    done = run("run", *asked)
    assert done.returncode == 0, done.stderr
    return out


def photo_settings(shops: Path) -> list[str]:
    small = ["--model", "cnn", "--seed", "1", *SMALL_IMAGES]
    return ["--dataset", str(shops), "--partition", "folder", *small]


def test_a_tenth_of_a_store_s_images_keeps_its_class(shops: Path) -> None:
    for images in json.loads((shops / "partition.json").read_text())["images"].values():
        if "unlabelled" in images:
            labelled = sum(images.values()) - images["unlabelled"]
            assert labelled == round(0.1 * sum(images.values()))
    for store in ("store-0", "store-1", "store-2"):
        assert (shops / store / "unlabelled").is_dir()


def test_all_of_them_teach_turns(first: Path) -> None:
    table = json.loads((first / "partition.json").read_text())
    assert table["classes"] == ["0 degrees", "90 degrees", "180 degrees", "270 degrees"]
    images = sum(sum(counts) for counts in table["stores"].values())
    assert 3000 < images < 3400  # eight tenths of the 4,000 that are dealt
    assert summary(first)["test"]["accuracy"] > 0.4


def test_they_are_no_class_of_the_run_that_follows(
    shops: Path, first: Path, tmp_path: Path
) -> None:
    out = tmp_path / "classes"
    weights = first / "model.safetensors"
    done = run("run", *photo_settings(shops), "--weights", weights, "--rounds", "1", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "unlabelled" not in json.loads((out / "model.json").read_text())["classes"]
    assert len(json.loads((out / "model.json").read_text())["classes"]) == 10


@pytest.mark.slow
def test_any_number_of_workers_turns_the_same(shops: Path, first: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    asked = [
        *photo_settings(shops),
        "--rounds",
        "2",
        "--set",
        "train.objective=turns",
        "--set",
        "run.workers=2",
    ]
    assert run("run", *asked, "--out", out).returncode == 0
    assert summary(out)["weights_sha256"] == summary(first)["weights_sha256"]
    assert [line["test"] for line in history(out)] == [line["test"] for line in history(first)]


@pytest.mark.parametrize(
    ("setting", "named"),
    [("data.mixup=0.5", "data.mixup"), ("strategy.absent_classes=mask", "strategy.absent_classes"),
     ("data.classes=hat,shoe", "data.classes"), ("run.engine=batched", "engine batched")],
)  # fmt: skip
def test_what_does_not_go_with_turns_is_named(setting: str, named: str, tmp_path: Path) -> None:
    done = run(
        "run", *SMALL, "--set", "train.objective=turns", "--set", setting, "--out", tmp_path / "run"
    )
    assert done.returncode == 2
    assert named in done.stderr
