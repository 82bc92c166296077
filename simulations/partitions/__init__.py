"""Partitions: published ways to split a data set over stores, in a registry, chosen by a short
text.

A partition is one file with a function `assign(task, ...)` that returns the store of each image,
and one line in `FAMILIES`; or an installed package names a `Family` as an entry point
(`common.plugins`); or a person gives a function by its name `module:Object` (`own`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fedshelf.common import own_objects, plugins
from fedshelf.common.errors import ConfigError
from fedshelf.common.seeding import rng
from fedshelf.common.suggest import did_you_mean
from fedshelf.simulations.partitions import dirichlet, iid, labels, listed, own, quantity, shards
from fedshelf.simulations.partitions.types import (
    NO_STORE,
    Labels,
    Owners,
    PartitionTask,
    Rows,
)

__all__ = ["FAMILIES", "FOLDER_PARTITION", "NO_STORE", "parse_partition", "partition"]

FOLDER_PARTITION = "folder"
"""The partition that exists already: each sub-folder of the data set is a store."""


@dataclass(frozen=True)
class Family:
    """A way to split.

    assign:    takes the task and the parameter, if there is one
    parameter: its name; "" if there is none
    example:   a value of the parameter, of its type
    """

    assign: Callable[..., Owners]
    parameter: str = ""
    example: float | int | str = 0

    def form(self, name: str) -> str:
        """Return its form as text: "dirichlet:ALPHA"."""
        return f"{name}:{self.parameter.upper()}" if self.parameter else name


FAMILIES = {
    "iid": Family(iid.assign),
    "dirichlet": Family(dirichlet.assign, "alpha", 0.5),
    "shards": Family(shards.assign, "k", 2),
    "labels": Family(labels.assign, "k", 2),
    "quantity": Family(quantity.assign, "alpha", 0.5),
    "file": Family(listed.assign, "path", "split.json"),
}


def parse_partition(spec: str) -> Callable[[PartitionTask], Owners] | None:
    """Parse the text that names a partition.

    Args:
        spec: a name, with a parameter if it takes one: "iid", "dirichlet:0.5", "folder".

    Returns:
        The function that assigns images to stores; None for "folder", where the folders decide.

    Raises:
        ConfigError: unknown name, or a parameter that is missing, superfluous or out of range.

    >>> parse_partition("shards:2").keywords
    {'k': 2}
    >>> parse_partition("folder") is None
    True
    """
    name, _, text = spec.partition(":")
    if name not in FAMILIES and own_objects.is_name(spec):
        function = plugins.find_plugin(plugins.PARTITION, spec, ())
        if isinstance(function, Family):
            return function.assign
        if function is not None and not callable(function):
            raise plugins.wrong_plugin(
                plugins.PARTITION, spec, "a function of labels, number of stores and generator"
            )
        if function is not None:
            return partial(own.assign, name=spec, function=function)
    plugin = plugins.find_plugin(plugins.PARTITION, name, (*FAMILIES, FOLDER_PARTITION))
    if spec == FOLDER_PARTITION:
        return None
    family = _find(name, spec, plugin)
    if not family.parameter:
        if text:
            raise ConfigError(f"Partition {spec!r} takes no parameter; write {name}.")
        return family.assign
    return partial(family.assign, **{family.parameter: _parse_parameter(spec, text, family)})


def _find(name: str, spec: str, plugin: Any | None) -> Family:
    if name in FAMILIES:
        return FAMILIES[name]
    if isinstance(plugin, Family):
        return plugin
    if plugin is not None:
        raise plugins.wrong_plugin(plugins.PARTITION, name, "a Family")
    added = plugins.plugin_names(plugins.PARTITION)
    forms = [family.form(known) for known, family in FAMILIES.items()]
    allowed = ", ".join([*forms, *added, FOLDER_PARTITION])
    hint = did_you_mean(name, [*FAMILIES, *added, FOLDER_PARTITION])
    raise ConfigError(f"Unknown partition {spec!r}; allowed: {allowed}.{hint}")


def partition(spec: str, labels: Labels, stores: int, *, minimum: int = 1, seed: int) -> list[Rows]:
    """Split images over stores; the same arguments give the same split.

    Args:
        spec: the partition, as `parse_partition` takes it; not "folder".
        labels: class of each image, int64 [N].
        stores: number of stores.
        minimum: images, the least that a store may get.
        seed: the run's seed.

    Returns:
        Of each store, the ascending positions of its images, int64. Every image goes to one store,
        but those that a file or a person's own partition leaves out, which go to none.

    Raises:
        ConfigError: unusable `spec`, or a store would get fewer than `minimum` images.

    >>> parts = partition("iid", np.array([0, 0, 1, 1, 1]), 2, seed=7)
    >>> sorted(len(rows) for rows in parts)
    [2, 3]
    """
    assign = parse_partition(spec)
    assert assign is not None, "the folder partition is made by opening the folders"
    if len(labels) < stores * minimum:
        raise ConfigError(
            f"{len(labels)} training images cannot give {stores} stores at least {minimum} each; "
            "lower data.stores or data.min_images."
        )
    owners = assign(PartitionTask(labels, stores, minimum, rng(seed, "partition")))
    sizes = np.bincount(owners[owners != NO_STORE], minlength=stores)
    if sizes.min() < minimum:
        raise ConfigError(
            f"Partition {spec} over {stores} stores leaves one with {sizes.min()} images; "
            f"lower data.min_images (now {minimum}) or data.stores."
        )
    dealt = np.argsort(owners, kind="stable")[len(owners) - sizes.sum() :]
    return np.split(dealt, np.cumsum(sizes)[:-1])


def _parse_parameter(spec: str, text: str, family: Family) -> float | int | str:
    if isinstance(family.example, str):
        if not text:
            form = family.form(spec.partition(":")[0])
            raise ConfigError(f"Partition {spec!r} names no file; write {form}.")
        return text
    kind = type(family.example)
    try:
        value = kind(text)
    except ValueError:
        value = kind(0)
    if not (value > 0 and math.isfinite(value)):
        name = spec.partition(":")[0]
        expected = "a whole number from 1" if kind is int else "a number above 0"
        raise ConfigError(
            f"Partition {spec!r} got {family.parameter.upper()}={text!r}; allowed: {expected}, "
            f"for example {name}:{family.example}."
        )
    return value
