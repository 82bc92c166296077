"""Any architecture of timm by its name, `timm:NAME`; timm comes with the extra `pretrained`."""

import importlib
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fedshelf.common.errors import ConfigError
from fedshelf.common.models.spec import ModelInfo, accept_grey
from fedshelf.common.suggest import did_you_mean

SMALLEST_IMAGE = 32  # pixels; architectures of convolutions halve the side five times


def find(name: str) -> ModelInfo:
    """Return timm's facts about an architecture, with its default weights' normalisation.

    Args:
        name: timm's name, with or without the tag of the weights: "resnet18.a1_in1k".

    Raises:
        ConfigError: timm is not installed, or knows no such architecture.
    """
    config = _config(name)
    return ModelInfo(
        build=partial(_build, name),
        default_size=config.input_size[-1],
        min_size=SMALLEST_IMAGE,
        fixed_size=bool(config.fixed_input_size),
        mean=tuple(config.mean),
        std=tuple(config.std),
    )


def published(name: str) -> Any:
    """Return timm's `PretrainedCfg` of an architecture with published weights.

    Raises:
        ConfigError: it has none, timm is not installed, or knows no such architecture.
    """
    config = _config(name)
    if not config.hf_hub_id:
        raise ConfigError(
            f"Model timm:{name} has no published weights; set model.weights to none or a file."
        )
    return config


def state_dict(name: str, path: Path) -> dict[str, Tensor]:
    """Return the published weights in the file `path`, by names and in shapes of timm's module."""
    module = _timm().create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    tensors: dict[str, Tensor] = module.state_dict()
    return tensors


def _build(name: str, classes: int, image_size: int, channels: int) -> nn.Module:
    options: dict[str, Any] = {"num_classes": classes}
    if _config(name).fixed_input_size:
        options["img_size"] = image_size
    module: nn.Module = _timm().create_model(name, pretrained=False, **options)
    return accept_grey(module) if channels == 1 else module


def _config(name: str) -> Any:
    timm = _timm()
    if not timm.is_model(name):
        raise ConfigError(
            f"Unknown model timm:{name}: expected an architecture of timm, as timm.list_models()"
            f" lists them.{did_you_mean(name, timm.list_models())}"
        )
    return timm.get_pretrained_cfg(name)


def _timm() -> Any:
    if importlib.util.find_spec("timm") is None:
        raise ConfigError(
            "Networks named timm:NAME need the package timm; install it with"
            " pip install 'fedshelf[pretrained]'."
        )
    return importlib.import_module("timm")
