"""Specifications of models by their names."""

from fedshelf.common import models
from fedshelf.common.config import ModelConfig
from fedshelf.common.models.spec import ModelSpec


def described(
    name: str, *, classes: int = 10, size: int = 32, channels: int = 3, **settings: object
) -> ModelSpec:
    config = ModelConfig.model_validate({"name": name, **settings})
    labels = tuple(f"class {index}" for index in range(classes))
    return models.specify(config, labels, image_size=size, native_size=None, channels=channels)
