"""Any torchvision classification model by its torchvision name.

Sizes and normalisation are those that torchvision documents with each model's default weights; they
hold for an untrained network too, so that weights can be exchanged without changing the inputs.
"""

from functools import partial
from typing import Any

import torchvision
from torch import nn

from fedshelf.common.models.spec import ModelInfo, accept_grey

# Models with attention over a fixed grid: https://pytorch.org/vision/stable/models.html, "min_size"
# of their weights.
_FIXED_SIZE = ("vit_", "maxvit_")

# They return one plain tensor in training, too. Their published weights expect inputs scaled by
# 0.5; `transform_input` converts ImageNet's scaling to it.
_PLAIN_OUTPUT = {"aux_logits": False, "transform_input": True, "init_weights": True}
_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": _PLAIN_OUTPUT, "inception_v3": _PLAIN_OUTPUT}


def names() -> list[str]:
    """Return the names of all torchvision classification models."""
    return list(torchvision.models.list_models(module=torchvision.models))


def find(name: str) -> ModelInfo:
    """Return torchvision's documented facts about a model in `names()`."""
    weights = default_weights(name)
    preset = weights.transforms()
    return ModelInfo(
        build=partial(_build, name),
        default_size=preset.crop_size[0],
        min_size=min(weights.meta["min_size"]),
        fixed_size=name.startswith(_FIXED_SIZE),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def default_weights(name: str) -> Any:
    """Return torchvision's entry of a model's default weights."""
    return torchvision.models.get_model_weights(name).DEFAULT


def _build(name: str, classes: int, image_size: int, channels: int) -> nn.Module:
    options = dict(_OPTIONS.get(name, {}))
    if name.startswith("vit_"):
        options["image_size"] = image_size
    module: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=classes, **options
    )
    return accept_grey(module) if channels == 1 else module
