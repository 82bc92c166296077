"""A model's file holds its description beside its weights, in the same bytes each time."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from fedshelf.common.models import saved
from fedshelf.common.models.model_file import describe, encode_model, is_described_by
from fedshelf.common.models.spec import ModelSpec
from tests.helpers.model_files import description_in

SPEC = ModelSpec("niid-cnn", ("boot", "Hüte"), 32, 3, (0.5,) * 3, (0.25,) * 3)
TENSORS = {"fc.weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
TOLD = {"class_names": ["Stiefel", "帽子"], "temperature": 1.25, "energy_threshold": None}


def test_the_file_alone_has_weights_network_and_description(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(encode_model(SPEC, TENSORS, TOLD | {"sha256": "of the file itself"}))
    model = saved.read(path)
    assert model.spec == SPEC
    assert model.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(model.tensors[name], TENSORS[name]) for name in TENSORS)
    assert description_in(path) == TOLD
    header_length = int.from_bytes(path.read_bytes()[:8], "little")
    assert header_length % 8 == 0  # the weights are aligned


def test_the_same_model_has_the_same_bytes() -> None:
    """Written by safetensors alone, two metadata come in either order."""
    assert len({encode_model(SPEC, TENSORS, TOLD) for _ in range(20)}) == 1


def test_another_description_changes_no_weight_and_leaves_nothing_of_the_first() -> None:
    content = encode_model(SPEC, TENSORS, TOLD | {"long": "x" * 100})
    again = describe(content, TOLD)
    assert again == encode_model(SPEC, TENSORS, TOLD)
    found = load(again)
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_a_file_belongs_to_one_description() -> None:
    content = encode_model(SPEC, TENSORS, TOLD)
    # a description that went through model.json
    assert is_described_by(content, json.loads(json.dumps(TOLD | {"sha256": "any"})))
    assert not is_described_by(content, TOLD | {"temperature": 1.5})
    assert not is_described_by(content, {})
    of_an_earlier_version = save(TENSORS, metadata={"spec": SPEC.to_json()})
    assert is_described_by(of_an_earlier_version, TOLD)


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x02" + bytes(7) + b"[]"])
def test_what_is_no_such_file_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        describe(content, TOLD)


def test_a_number_that_is_none_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_model(SPEC, TENSORS, {"temperature": float("nan")})
