"""The bytes of a `model.safetensors`: weights, with all that is needed to use them.

The metadata have the network's specification under `spec`, and under `description` the content of
the `model.json` that is written beside the file, but for `sha256`, which is that of these bytes.
"""

import json
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save
from torch import Tensor

from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.names import DESCRIPTION_KEY

_LENGTH_BYTES = 8  # the file begins with the length of its header, little-endian
_METADATA_KEY = "__metadata__"


def encode_model(
    spec: ModelSpec, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> bytes:
    """Return the bytes of a model's file; the same arguments give the same bytes.

    Args:
        spec: the network
        tensors: the whole state dict by torch names, in the shapes of the network
        description: the content of `model.json`
    """
    return describe(save(dict(tensors), metadata={"spec": spec.to_json()}), description)


def describe(content: bytes, description: Mapping[str, Any]) -> bytes:
    """Return the bytes of a model's file with another description.

    The header is written here, because safetensors orders several metadata by chance.

    Raises:
        ValueError: NaN or an infinity, which JSON does not have; or no bytes of such a file
    """
    header, weights = _split(content)
    told = {key: value for key, value in description.items() if key != "sha256"}
    text = json.dumps(told, ensure_ascii=False, allow_nan=False)
    metadata = header.pop(_METADATA_KEY, {}) | {DESCRIPTION_KEY: text}
    described = {_METADATA_KEY: dict(sorted(metadata.items()))} | header
    encoded = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _LENGTH_BYTES)  # aligns the weights
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded + weights


def is_described_by(content: bytes, description: Mapping[str, Any]) -> bool:
    """Return whether a model's file holds this content of `model.json`, or none at all.

    The file of an earlier version holds none.

    Args:
        content: bytes of a safetensors file

    Raises:
        ValueError, RecursionError: a description that is no JSON
    """
    text = _split(content)[0].get(_METADATA_KEY, {}).get(DESCRIPTION_KEY)
    told = {key: value for key, value in description.items() if key != "sha256"}
    return text is None or json.loads(text) == told


def _split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header and the weights of a safetensors file. Raises ValueError."""
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:start])
    if not isinstance(header, dict):
        raise ValueError("the header of a safetensors file is an object")
    return header, content[start:]
