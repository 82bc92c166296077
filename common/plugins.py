"""Plug-ins: strategies, models, data sets, partitions, metrics and augmentations of packages.

A package names them as entry points (https://packaging.python.org/specifications/entry-points):

    [project.entry-points."fedshelf.strategies"]
    damped = "my_package.damped:Damped"

Entry points are read, and a plug-in is imported, only when a run names it. Objects of a person's
own, which no package names (`common.own_objects`), are found here, too.
"""

from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from fedshelf.common import own_objects
from fedshelf.common.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


@dataclass(frozen=True)
class PluginKind:
    """One group of entry points.

    group: its name
    noun:  one of its plug-ins, in words
    """

    group: str
    noun: str


STRATEGY = PluginKind("fedshelf.strategies", "strategy")
MODEL = PluginKind("fedshelf.models", "model")
DATASET = PluginKind("fedshelf.datasets", "data set")
PARTITION = PluginKind("fedshelf.partitions", "partition")
METRIC = PluginKind("fedshelf.metrics", "metric")
AUGMENTATION = PluginKind("fedshelf.augmentations", "augmentation")


def plugin_names(kind: PluginKind) -> list[str]:
    """Return the names of all plug-ins of a kind, without importing them."""
    return sorted({entry.name for entry in _entries(kind.group)})


def find_plugin(kind: PluginKind, name: str, built_in: Container[str]) -> Any | None:
    """Import the plug-in of a name, or return a person's own object.

    Args:
        kind: the kind of plug-in.
        name: the name in its entry point, or `module:Object`.
        built_in: the names that Fedshelf itself has; none of them may be a plug-in's.

    Returns:
        The object that the entry point names; None if no installed package has one of this name.

    Raises:
        ConfigError: two have this name, or it cannot be imported.
    """
    if (own := own_objects.find(kind.group, kind.noun, name)) is not None:
        return own
    entries = [entry for entry in _entries(kind.group) if entry.name == name]
    if not entries:
        return None
    packages = sorted({_package(entry) for entry in entries})
    if name in built_in:
        raise ConfigError(
            f"The package {packages[0]} adds a {kind.noun} {name!r}, which is the name of one of"
            " Fedshelf's own; uninstall the package, or rename its entry point."
        )
    if len(entries) > 1:
        raise ConfigError(
            f"A {kind.noun} {name!r} comes from more than one package: {', '.join(packages)};"
            " uninstall all but one."
        )
    try:
        return entries[0].load()
    except Exception as error:  # a package's code may raise anything
        raise ConfigError(
            f"The {kind.noun} {name!r} of the package {packages[0]} cannot be imported"
            f" ({type(error).__name__}: {error}); repair the package or uninstall it."
        ) from error


def wrong_plugin(kind: PluginKind, name: str, expected: str) -> ConfigError:
    """Return the error for a plug-in that is something else than `expected`."""
    packages = [_package(entry) for entry in _entries(kind.group) if entry.name == name]
    if not packages:
        return ConfigError(f"The {kind.noun} {name} is not {expected}; give another object.")
    return ConfigError(
        f"The {kind.noun} {name!r} of the package {', '.join(packages)} is not {expected}; repair"
        " the package's entry point."
    )


@cache
def _entries(group: str) -> "tuple[EntryPoint, ...]":
    from importlib.metadata import entry_points  # takes longer than all else that --help loads

    return tuple(entry_points(group=group))


def _package(entry: "EntryPoint") -> str:
    """Return name and version of the distribution that an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
