"""A simulation's own code: the objects that its settings name as `module:Object`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedshelf.common import models, own_objects
from fedshelf.common.config import RunConfig, as_list, flatten, from_toml
from fedshelf.common.errors import ConfigError
from fedshelf.common.hub import HUB
from fedshelf.common.images.augment.own import check_augmentation
from fedshelf.common.models import own_network
from fedshelf.common.models.spec import TIMM
from fedshelf.simulations.partitions import FAMILIES

METRICS_KEY = "evaluation.metrics"
AUGMENTATION_KEY = "data.augmentation"
NAMING_KEYS = (
    "strategy.name",
    "model.name",
    "data.partition",
    "data.dataset",
    AUGMENTATION_KEY,
    METRICS_KEY,
)
"""The settings that may name an object of one's own."""

TAKEN = (*FAMILIES, TIMM.rstrip(":"), HUB.rstrip(":"))
"""Words before a colon that mean something else than a module."""

WORKER_KEYS = ("strategy.name", "model.name", AUGMENTATION_KEY, METRICS_KEY)
"""Those of them whose objects the workers of stores need."""


def allow_named(settings: Mapping[str, Any], run: Path | None = None) -> None:
    """Let this process import the objects that a person's settings name.

    Args:
        settings: flat settings
        run: directory of a run to resume, whose settings count, too

    Raises:
        ConfigError: the run's settings cannot be read.
    """
    stored = run / "config.toml" if run else None
    known = from_toml(stored) if stored and stored.is_file() else {}
    for key in NAMING_KEYS:
        for values in (known, settings):
            for name in _names(key, values.get(key, "")):
                module = name.partition(":")[0]
                if own_objects.is_name(name) and module not in TAKEN:
                    own_objects.allow(name)


def check_own_code(config: RunConfig, classes: Sequence[str], channels: int) -> str:
    """Check the augmentation and the network of a run if they are a person's own.

    Args:
        config: settled
        classes: of the run
        channels: of its images: 1 (grey) or 3 (RGB)

    Returns:
        A note on the network, often empty.

    Raises:
        ConfigError: one does not obey what it must (see `own_network.check_network` and
            `check_augmentation`).
    """
    if config.data.augmentation:
        check_augmentation(config.data.augmentation, config.data.image_size, channels)
    name = config.model.name
    if not own_objects.is_name(name) or name.startswith(TIMM):
        return ""
    shape = (config.data.image_size, channels)
    return own_network.check_network(models.find(name), name, len(classes), shape)


def check_importable(config: RunConfig) -> None:
    """Check that processes which are no forks of this one find the objects that train stores.

    Raises:
        ConfigError: one is an object that a Python program gave and that no import finds.
    """
    flat = flatten(config)
    for key in WORKER_KEYS:
        if any(map(own_objects.is_given, _names(key, flat[key]))):
            raise ConfigError(
                f"Setting {key} is {flat[key]}, an object that only this program has, and workers"
                " of the engine ray cannot import it; put it into a module, or use run_engine="
                "'sequential'."
            )


def _names(key: str, value: Any) -> list[str]:
    """Return the names in the value of a setting that has one name, or several."""
    names = as_list(key, value) if key == METRICS_KEY else [value]
    return [str(name) for name in names]
