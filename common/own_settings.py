"""The settings that may name an object of a person's own as `module:Object`, and what they name."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedshelf.common import own_objects
from fedshelf.common.config import as_list, from_toml
from fedshelf.common.hub import HUB
from fedshelf.common.models.spec import TIMM

METRICS_KEY = "evaluation.metrics"
AUGMENTATION_KEY = "data.augmentation"
STORE_KEYS = ("strategy.name", "model.name", AUGMENTATION_KEY, METRICS_KEY)
"""The settings whose objects stores need, too."""

ZOOS = (TIMM.rstrip(":"), HUB.rstrip(":"))
"""Words before a colon that mean something else than a module."""


def own_names(
    settings: Mapping[str, Any], keys: Iterable[str], taken: Iterable[str] = ZOOS
) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of each object of one's own in flat settings.

    Args:
        settings: flat settings; keys may be missing
        keys: those that may name objects
        taken: words before a colon that mean something else than a module

    >>> list(own_names({"model.name": "mylab:Small", "strategy.name": "fedavg"}, STORE_KEYS))
    [('model.name', 'mylab:Small')]
    """
    for key in keys:
        value = settings.get(key, "")
        for name in as_list(key, value) if key == METRICS_KEY else [value]:
            if own_objects.is_name(str(name)) and str(name).partition(":")[0] not in taken:
                yield key, str(name)


def allow_own(
    settings: Mapping[str, Any],
    keys: Iterable[str],
    taken: Iterable[str] = ZOOS,
    *,
    run: Path | None = None,
    from_here: bool,
) -> None:
    """Let this process import the objects that a person's settings name.

    Args:
        settings: flat settings
        keys: those that may name objects
        taken: words before a colon that mean something else than a module
        run: directory of a run to resume, whose settings count, too
        from_here: whether modules may lie in the current folder; else they must be installed

    Raises:
        ConfigError: the run's settings cannot be read.
    """
    keys = tuple(keys)
    stored = run / "config.toml" if run else None
    known = from_toml(stored) if stored and stored.is_file() else {}
    for values in (known, settings):
        for _, name in own_names(values, keys, tuple(taken)):
            own_objects.allow(name, from_here=from_here)
