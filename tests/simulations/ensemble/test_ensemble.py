"""A whole ensemble of models of unlike networks and sizes, judged against its members."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import save

from fedshelf.common import models
from fedshelf.common.config import DataConfig, ModelConfig
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.models.saved import read
from fedshelf.common.system.files import write_atomic
from fedshelf.simulations import datasets
from fedshelf.simulations.ensemble.command import ensemble
from tests.helpers.product_photos import COUNTS, photos

CLASSES = ("coat", "hat", "shoe")


def member(
    root: Path, name: str, classes: tuple[str, ...] = CLASSES, size: int = 16, seed: int = 0
) -> Path:
    """A run directory with an untrained model."""
    spec = models.specify(
        ModelConfig(name=name), classes, image_size=size, native_size=None, channels=3
    )
    content = save(models.build(spec, seed=seed).state_dict(), metadata={"spec": spec.to_json()})
    write_atomic(root / "model.safetensors", lambda file: file.write(content))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos") / "wares")


def judged(paths: list[Path], data: Path, out: Path, **more: object) -> dict[str, Any]:
    given = {"data.dataset": str(data), "run.device": "cpu", "run.out": str(out)} | more
    ensemble(paths, given, Console(file=io.StringIO()))
    found: dict[str, Any] = json.loads((out / "ensemble.json").read_text())
    return found


def test_judges_members_of_unlike_networks_sizes_and_orders_of_classes(
    tmp_path: Path, data: Path
) -> None:
    paths = [
        member(tmp_path / "small", "niid-cnn", seed=1),
        member(tmp_path / "large", "cnn", size=24, seed=2),
        member(tmp_path / "other", "cnn", classes=("shoe", "coat", "hat"), seed=3),
    ]
    found = judged(paths, data, tmp_path / "out")
    assert found["classes"] == list(CLASSES)
    assert list(found["members"]) == ["small", "large", "other"]
    assert [each["image_size"] for each in found["members"].values()] == [16, 24, 16]
    assert sum(each["weight"] for each in found["members"].values()) == pytest.approx(1.0)
    assert found["fitted_on"]["images"] == 3 * COUNTS["validation"]
    assert list(found["ensembles"]) == ["mean", "weighted", "vote", "stacking"]
    for each in found["ensembles"].values():
        assert sum(map(sum, each["confusion"])) == 3 * COUNTS["test"]
    least = min(each["fit"]["loss"] for each in found["members"].values())
    assert found["ensembles"]["weighted"]["fit"]["loss"] <= least + 1e-9
    assert "Majority vote" in (tmp_path / "out" / "report.html").read_text()


def test_a_model_with_its_twin_is_what_it_is_alone(tmp_path: Path, data: Path) -> None:
    paths = [member(tmp_path / place / "run", "niid-cnn", seed=1) for place in ("one", "twin")]
    found = judged(paths, data, tmp_path / "out")
    assert list(found["members"]) == ["one/run", "twin/run"]
    alone = found["members"]["one/run"]["test"]
    for name in ("mean", "weighted", "vote"):
        assert found["ensembles"][name]["test"]["accuracy"] == alone["accuracy"]
        assert found["ensembles"][name]["gain"]["points"] == 0


def test_the_order_of_a_members_classes_changes_nothing(tmp_path: Path, data: Path) -> None:
    """A copy whose head has its rows, and its classes, in another order says the same."""
    first = read(member(tmp_path / "one", "niid-cnn", seed=1))
    order = [2, 0, 1]
    tensors = dict(first.tensors)
    head = [name for name in tensors if tensors[name].shape[:1] == (3,)]
    assert len(head) == 2
    tensors |= {name: tensors[name][torch.tensor(order)].clone() for name in head}
    spec = first.spec.to_json().replace(
        json.dumps(list(CLASSES)), json.dumps([CLASSES[place] for place in order])
    )
    content = save(tensors, metadata={"spec": spec})
    write_atomic(tmp_path / "turned" / "model.safetensors", lambda file: file.write(content))
    found = judged([tmp_path / "one", tmp_path / "turned"], data, tmp_path / "out")
    one, turned = found["members"].values()
    assert turned["test"] == pytest.approx(one["test"])


def test_a_folder_of_stores_is_judged_as_one(tmp_path: Path) -> None:
    paths = [
        member(tmp_path / "one", "niid-cnn", seed=1),
        member(tmp_path / "two", "niid-cnn", seed=2),
    ]
    for store in ("paris", "rome"):
        photos(tmp_path / "chain" / store)
    found = judged(paths, tmp_path / "chain", tmp_path / "out", **{"data.partition": "folder"})
    assert found["fitted_on"]["images"] == 2 * 3 * COUNTS["validation"]
    assert found["judged_on"]["images"] == 2 * 3 * COUNTS["test"]


def test_without_validation_images_half_of_the_test_images_fit(tmp_path: Path) -> None:
    classes = tuple(datasets.find(DataConfig(dataset="shelf")).load(PixelFormat(16, 3, 0)).classes)
    paths = [member(tmp_path / f"{seed}", "niid-cnn", classes, seed=seed) for seed in (1, 2)]
    found = judged(paths, Path("shelf"), tmp_path / "out")
    assert found["fitted_on"]["images"] == found["judged_on"]["images"] == 500
    assert "half of the test images" in found["fitted_on"]["told"]


@pytest.mark.parametrize("damage", ["classes", "one", "none", "broken", "weights"])
def test_mistakes_are_one_sentence(tmp_path: Path, data: Path, damage: str) -> None:
    paths = [member(tmp_path / "one", "niid-cnn"), member(tmp_path / "two", "niid-cnn")]
    error: type[Exception] = DataError
    if damage == "classes":
        member(tmp_path / "two", "niid-cnn", classes=("coat", "hat", "skirt"))
        expected = "it lacks shoe and it has skirt"
    elif damage == "one":
        paths = paths[:1]
        error = ConfigError
        expected = "at least two models, got 1"
    elif damage == "none":
        (tmp_path / "two" / "model.safetensors").unlink()
        expected = "There is no model in"
    elif damage == "broken":
        (tmp_path / "two" / "model.safetensors").write_bytes(b"no model")
        expected = "Cannot read the model"
    else:  # says that it is another network
        content = (
            (tmp_path / "two" / "model.safetensors").read_bytes().replace(b"niid-cnn", b"resnet18")
        )
        (tmp_path / "two" / "model.safetensors").write_bytes(content)
        expected = "does not hold the weights of the model resnet18"
    with pytest.raises(error, match=expected):
        judged(paths, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()
