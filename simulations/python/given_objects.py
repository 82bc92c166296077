"""Objects that a Python program gives in place of names: each becomes known by a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from fedshelf.common import own_objects, plugins
from fedshelf.common.errors import ConfigError
from fedshelf.common.plugins import PluginKind
from fedshelf.common.strategies import Strategy
from fedshelf.simulations.datasets.own.source import STORES
from fedshelf.simulations.partitions import FOLDER_PARTITION
from fedshelf.simulations.python.settings import SHORT, plain


@dataclass
class GivenObjects:
    """The objects of one run.

    Attributes:
        settings: the flat settings that name them, or have the names that were given
        known: (kind, name) -> object
    """

    settings: dict[str, Any] = field(default_factory=dict)
    known: dict[tuple[PluginKind, str], Any] = field(default_factory=dict)

    def add(self, kind: PluginKind, key: str, given: Any) -> None:
        """Take the value of an argument: a name, or the object itself; None: not given."""
        if given is None:
            return
        if isinstance(given, str | PathLike):
            self.settings[key] = str(given)
            return
        self.settings[key] = self._name(kind, given)

    def add_metrics(self, metrics: Sequence[Any]) -> None:
        """Take metrics: names, metrics, or their classes.

        Raises:
            ConfigError: two objects have one name.
        """
        names = [
            each if isinstance(each, str) else self._name(plugins.METRIC, each) for each in metrics
        ]
        if len(set(names)) < len(names):
            raise ConfigError(f"The argument metrics has two of one name: {', '.join(names)}.")
        self.settings["evaluation.metrics"] = names

    def _name(self, kind: PluginKind, given: Any) -> str:
        name = own_objects.name_of(given)
        self.known[kind, name] = given
        return name

    def register(self) -> None:
        """Make the objects known to this process, in place of earlier ones of the same names."""
        for (kind, name), given in self.known.items():
            own_objects.register(kind.group, name, given)


def collect(arguments: Mapping[str, Any]) -> GivenObjects:
    """Return the settings and objects among the arguments of `fedshelf.simulate`.

    Args:
        arguments: by the names in `SHORT`; None: not given

    Raises:
        ConfigError: a strategy is no class derived from Strategy, or stores are data sets and
            `dataset` or `partition` is another one.
    """
    given = GivenObjects()
    stores, dataset = arguments.get("stores"), arguments.get("dataset")
    if isinstance(stores, Mapping | Sequence):
        dataset = _with_stores(stores, dataset)
        if arguments.get("partition") not in (None, FOLDER_PARTITION):
            raise ConfigError(
                "The argument stores has data sets, which are the partition; leave partition out."
            )
        given.settings["data.partition"] = FOLDER_PARTITION
    elif stores is not None:
        given.settings["data.stores"] = plain(stores)
    strategy = arguments.get("strategy")
    is_class = isinstance(strategy, type) and issubclass(strategy, Strategy)
    if not (strategy is None or isinstance(strategy, str) or is_class):
        got = strategy.__name__ if isinstance(strategy, type) else type(strategy).__name__
        raise ConfigError(
            f"The argument strategy got {got}; expected a name, or a class derived from"
            " fedshelf.Strategy, whose settings are arguments: strategy_NAME=..."
        )
    for name, kind in (
        ("dataset", plugins.DATASET),
        ("partition", plugins.PARTITION),
        ("model", plugins.MODEL),
        ("strategy", plugins.STRATEGY),
        ("augmentation", plugins.AUGMENTATION),
    ):
        given.add(kind, SHORT[name], dataset if name == "dataset" else arguments.get(name))
    if arguments.get("metrics"):
        given.add_metrics(arguments["metrics"])
    for name in ("rounds", "seed", "out", "classes"):
        if arguments.get(name) is not None:
            value = arguments[name]
            is_list = name == "classes" and not isinstance(value, str)
            given.settings[SHORT[name]] = list(map(str, value)) if is_list else plain(value)
    return given


def _with_stores(stores: Mapping[str, Any] | Sequence[Any], dataset: Any) -> dict[str, Any]:
    """Return data sets of single stores, with the server's test images, as one data set.

    Raises:
        ConfigError: `dataset` has more than test images.
    """
    if dataset is not None and not (isinstance(dataset, Mapping) and dataset.keys() <= {"test"}):
        raise ConfigError(
            "The argument stores has data sets, so dataset may have the server's test images alone:"
            ' dataset={"test": ...}.'
        )
    return {**(dataset or {}), STORES: stores}
