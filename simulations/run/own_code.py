"""A simulation's own code: the objects that its settings name as `module:Object`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedshelf.common import own_objects
from fedshelf.common.config import RunConfig, flatten
from fedshelf.common.errors import ConfigError
from fedshelf.common.own_settings import STORE_KEYS, ZOOS, allow_own, own_names
from fedshelf.simulations.partitions import FAMILIES

NAMING_KEYS = (*STORE_KEYS, "data.partition", "data.dataset")
"""The settings that may name an object of one's own."""

TAKEN = (*FAMILIES, *ZOOS)
"""Words before a colon that mean something else than a module."""


def allow_named(settings: Mapping[str, Any], run: Path | None = None) -> None:
    """Let this process import the objects that a person's settings name.

    Args:
        settings: flat settings
        run: directory of a run to resume, whose settings count, too

    Raises:
        ConfigError: the run's settings cannot be read.
    """
    allow_own(settings, NAMING_KEYS, TAKEN, run=run, from_here=True)


def check_importable(config: RunConfig) -> None:
    """Check that processes which are no forks of this one find the objects that train stores.

    Raises:
        ConfigError: one is an object that a Python program gave and that no import finds.
    """
    flat = flatten(config)
    for key, name in own_names(flat, STORE_KEYS):
        if own_objects.is_given(name):
            raise ConfigError(
                f"Setting {key} is {flat[key]}, an object that only this program has, and workers"
                " of the engine ray cannot import it; put it into a module, or use run_engine="
                "'sequential'."
            )
