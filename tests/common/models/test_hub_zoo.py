"""Networks of the Hugging Face hub, from snapshots in the layout of its library's cache."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save

from fedshelf.common import models
from fedshelf.common.config import ModelConfig, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models.spec import ModelSpec
from fedshelf.server.training.setup import prepare, settle
from tests.helpers.exported_models import save_exported
from tests.helpers.hub_cache import put_snapshot

ARCHITECTURE = "test_resnet"  # timm's smallest
CLASSES = ("hat", "shirt")
FACTS = {"input_size": [3, 64, 64], "mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
TOLD: dict[str, Any] = {"architecture": ARCHITECTURE, "num_classes": 7, "pretrained_cfg": FACTS}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub's library without a network, for this process."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def specify(name: str) -> ModelSpec:
    return models.specify(
        ModelConfig(name=name), CLASSES, image_size=0, native_size=None, channels=3
    )


def test_a_repository_of_timm_gives_architecture_normalisation_and_weights(cache: Path) -> None:
    theirs = timm.create_model(ARCHITECTURE, num_classes=7)
    files = {
        "config.json": json.dumps(TOLD).encode(),
        "model.safetensors": save(dict(theirs.state_dict())),
    }
    put_snapshot(cache, "model", "lab/shoes", files)
    config = resolve({"model.name": "hf:lab/shoes", "data.image_size": 32})
    config = settle(config, None, 3)
    assert config.model.weights == "imagenet"
    assert config.model.norm == "frozen"
    start = prepare(config, CLASSES, 3)
    spec = start.plan.spec
    assert spec.name == f"timm:{ARCHITECTURE}"
    assert (spec.mean, spec.std) == (tuple(FACTS["mean"]), tuple(FACTS["std"]))
    assert start.initial_weights is not None
    assert start.initial_weights["source"] == "hf:lab/shoes"
    mine = start.layout.split_views(start.params)
    stem = next(name for name in mine if name.endswith("weight"))
    torch.testing.assert_close(mine[stem], theirs.state_dict()[stem], rtol=0, atol=0)
    assert specify("hf:lab/shoes").image_size == 64


def test_a_release_of_fedshelf_begins_with_its_weights_and_keeps_its_head(cache: Path) -> None:
    file = save_exported(cache / "run")[0]
    put_snapshot(cache, "model", "lab/ours", {"model.safetensors": file.read_bytes()})
    weights = models.initial_weights(ModelConfig(name="hf:lab/ours"))
    assert weights is not None
    assert weights.spec is not None
    spec = models.specify(
        ModelConfig(name="hf:lab/ours", norm=weights.spec.norm),
        weights.spec.classes, image_size=0, native_size=None, channels=weights.spec.channels,
    )  # fmt: skip
    assert spec.name == weights.spec.name
    assert spec.image_size == weights.spec.image_size
    built = models.build(spec, weights=weights).state_dict()
    for name, tensor in weights.tensors.items():
        torch.testing.assert_close(built[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"pytorch_model.bin": b"x"}, "has no model.safetensors; pytorch_model.bin is a pickle"),
        ({"model.safetensors": b""}, r"has no readable config\.json"),
        (
            {"config.json": b'{"architectures": ["ViTModel"]}', "model.safetensors": b""},
            r"is no model of timm: its config\.json has no architecture \(it names \['ViTModel'\]",
        ),
        (
            {
                "config.json": json.dumps(TOLD | {"model_args": {"depth": 3}}).encode(),
                "model.safetensors": b"",
            },
            r"has arguments of its own for test_resnet \({'depth': 3}\)",
        ),
    ],
)
def test_other_repositories_are_refused(cache: Path, files: dict[str, bytes], words: str) -> None:
    put_snapshot(cache, "model", "lab/other", files)
    with pytest.raises(DataError, match=words):
        specify("hf:lab/other")


@pytest.mark.usefixtures("cache")
def test_without_a_network_only_the_cache_counts() -> None:
    with pytest.raises(DataError, match=r"hf:lab/none is not in the cache .* copy the cache"):
        specify("hf:lab/none")
    with pytest.raises(ConfigError, match="Got 'hf:none'; expected hf:OWNER/NAME"):
        specify("hf:none")
