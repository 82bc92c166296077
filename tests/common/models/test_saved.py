"""A model that was written is read back as it was, and what is none is one sentence."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedshelf.common import models
from fedshelf.common.config import resolve
from fedshelf.common.errors import DataError
from fedshelf.common.images.types import Images
from fedshelf.common.models.saved import read
from fedshelf.common.training.fit import Network
from fedshelf.common.training.predict import load, log_probabilities
from tests.helpers.model_specs import described

CPU = torch.device("cpu")


def written(path: Path, name: str = "cnn", **settings: object) -> Network:
    network = Network(described(name, classes=3, size=16, **settings), CPU, seed=7)  # type: ignore[arg-type]
    tensors = {key: tensor.clone() for key, tensor in network.module.state_dict().items()}
    path.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path / "model.safetensors", metadata={"spec": network.spec.to_json()})
    return network


def pictures(count: int) -> Images:
    random = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 16, 16, 3), generator=random, dtype=torch.uint8)
    return Images.whole(pixels, torch.zeros(count, dtype=torch.int64)).select(
        torch.arange(count).flip(0)
    )


@pytest.mark.parametrize("settings", [{}, {"norm": "batch"}, {"dropout": 0.3}])
def test_read_back_a_model_says_the_same(tmp_path: Path, settings: dict[str, object]) -> None:
    first = written(tmp_path, **settings)
    images = pictures(7)
    found = load(read(tmp_path), CPU)
    assert found.spec == first.spec
    assert torch.equal(found.vector, first.vector)
    said = log_probabilities(found, images, batch_size=3)
    torch.testing.assert_close(said, log_probabilities(first, images, batch_size=7))
    torch.testing.assert_close(said.exp().sum(dim=1), torch.ones(7))


def test_answers_come_in_the_order_of_the_images(tmp_path: Path) -> None:
    written(tmp_path)
    network = load(read(tmp_path / "model.safetensors"), CPU)
    images = pictures(5)
    whole = log_probabilities(network, images, batch_size=2)
    one = log_probabilities(network, images.select(torch.tensor([3])), batch_size=2)
    torch.testing.assert_close(whole[3:4], one)


def test_what_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no model in .*expected a model\.safetensors"):
        read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="Cannot read the model"):
        read(tmp_path)
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="does not say what network it is for"):
        read(tmp_path)
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"spec": "{}"})
    with pytest.raises(DataError, match="Cannot read the model"):
        read(tmp_path)


@pytest.mark.parametrize("number", [torch.nan, -torch.inf])
def test_a_model_that_is_not_finite_is_one_sentence(tmp_path: Path, number: float) -> None:
    network = written(tmp_path)
    network.vector[0] = number
    tensors = {key: tensor.clone() for key, tensor in network.module.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"spec": network.spec.to_json()})
    with pytest.raises(DataError, match=r"model\.safetensors are not finite"):
        read(tmp_path)
    with pytest.raises(DataError, match="are not finite"):
        models.initial_weights(
            resolve({"model.weights": str(tmp_path / "model.safetensors")}).model
        )


def test_weights_of_another_network_are_one_sentence(tmp_path: Path) -> None:
    spec = written(tmp_path).spec
    save_file(
        {"weight": torch.ones(2)}, tmp_path / "model.safetensors", metadata={"spec": spec.to_json()}
    )
    with pytest.raises(DataError, match="does not hold the weights of the model cnn"):
        load(read(tmp_path), CPU)
