"""Any torchvision classification model by its torchvision name.

Sizes and normalisation are those that torchvision documents with each model's default weights; they
hold for an untrained network too, so that weights can be exchanged without changing the inputs.
"""

import sys
from functools import partial
from typing import Any

import torchvision
from torch import Tensor, nn

from fedshelf.common.errors import DataError
from fedshelf.common.models.spec import ModelInfo
from fedshelf.common.models.weights import modern_name
from fedshelf.common.system.files import cache_directory

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
    weights = torchvision.models.get_model_weights(name).DEFAULT
    preset = weights.transforms()
    return ModelInfo(
        build=partial(_build, name),
        default_size=preset.crop_size[0],
        min_size=min(weights.meta["min_size"]),
        fixed_size=name.startswith(_FIXED_SIZE),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def pretrained(name: str) -> dict[str, Tensor]:
    """Return the state dict of torchvision's default weights, from our cache once downloaded.

    Raises:
        DataError: the weights cannot be fetched.
    """
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        state = weights.get_state_dict(
            model_dir=str(cache_directory() / "weights"),
            progress=sys.stderr.isatty(),
            check_hash=True,
            weights_only=True,  # tensors only: nothing in the file is executed
            map_location="cpu",
        )
    except Exception as error:  # with any error, the weights cannot be had this way
        raise DataError(
            f"Cannot fetch torchvision's weights of {name} from {weights.url} ({error}); save their"
            f" state dict as {name}.safetensors where there is a connection, copy it here and pass"
            f" model.weights={name}.safetensors."
        ) from error
    return {modern_name(key): tensor for key, tensor in state.items()}


def _build(name: str, classes: int, image_size: int, channels: int) -> nn.Module:
    options = dict(_OPTIONS.get(name, {}))
    if name.startswith("vit_"):
        options["image_size"] = image_size
    module: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=classes, **options
    )
    if channels == 1:
        module.register_forward_pre_hook(_grey_to_rgb)
    return module


def _grey_to_rgb(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Repeat the grey channel three times: [N, 1, H, W] -> [N, 3, H, W]."""
    return (inputs[0].expand(-1, 3, -1, -1),)
