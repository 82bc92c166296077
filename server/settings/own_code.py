"""A run's own code: the objects that its settings name as `module:Object`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fedshelf.common import models, own_objects
from fedshelf.common.config import RunConfig
from fedshelf.common.models.spec import TIMM
from fedshelf.common.own_settings import STORE_KEYS, allow_own

EMPTY: Mapping[str, Any] = MappingProxyType({})


def allow_of_run(run: str | Path | None, settings: Mapping[str, Any] = EMPTY) -> None:
    """Let this process import what an operator's run names, if it is installed.

    Args:
        run: its directory, which may be a new one; None: not known yet
        settings: further ones, flat

    Raises:
        ConfigError: the run's settings cannot be read.
    """
    allow_own(settings, STORE_KEYS, run=Path(run) if run else None, from_here=False)


def check_own_code(config: RunConfig, classes: int, channels: int) -> str:
    """Check the augmentation and the network of a run if they are not Fedshelf's.

    Args:
        config: of the run, whose data.image_size is chosen
        classes: C, number of outputs
        channels: of the images: 1 (grey) or 3 (RGB)

    Returns:
        A note on the network, often empty.

    Raises:
        ConfigError: one does not obey what it must (see `own_network.check_network` and
            `check_augmentation`).
    """
    if config.data.augmentation:
        from fedshelf.common.images.augment.own import check_augmentation  # loads torch

        check_augmentation(config.data.augmentation, config.data.image_size, channels)
    name = config.model.name
    if not own_objects.is_name(name) or name.startswith(TIMM):
        return ""
    from fedshelf.common.models import own_network  # loads torch

    shape = (config.data.image_size, channels)
    return own_network.check_network(models.find(name), name, classes, shape)
