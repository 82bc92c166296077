"""Small finished models on disk, without a training."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.models.model_file import encode_model
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE
from fedshelf.common.training.fit import Network

CLASSES = ("boot", "hat", "shirt")


def spec_of(
    network: str = "cnn", classes: tuple[str, ...] = CLASSES, size: int = 32, channels: int = 3
) -> ModelSpec:
    """A specification with the usual normalisation of our own networks."""
    return ModelSpec(network, classes, size, channels, (0.5,) * channels, (0.25,) * channels)


def save_model(
    folder: Path,
    spec: ModelSpec | None = None,
    *,
    seed: int = 0,
    set_weights: Callable[[nn.Module], object] = lambda _: None,
    **described: Any,
) -> Path:
    """Write a network with random weights as a run leaves its model, and return the folder.

    set_weights: may give the network other weights
    described: further values of its `ModelDescription`, as `temperature`
    """
    spec = spec or spec_of()
    network = Network(spec, torch.device("cpu"), seed=seed)
    with torch.no_grad():
        set_weights(network.module)
    description = ModelDescription(spec, described.pop("class_names", spec.classes), **described)
    told = json.loads(description.to_json())
    tensors = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    content = encode_model(spec, tensors, told)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS_FILE).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / DESCRIPTION_FILE).write_text(json.dumps(told | {"sha256": sha256}), encoding="utf-8")
    return folder
