"""The federated algorithms by name.

To add one, write a file in `algorithms` and a line in STRATEGIES; if it has settings of its own,
`make settings` puts them into the schema. An installed package may add more (`common.plugins`).
"""

from collections.abc import Mapping

from pydantic import ValidationError

from fedshelf.common import compression, plugins
from fedshelf.common.config import RunConfig, StrategyConfig
from fedshelf.common.config.plugin_settings import unknown_strategy
from fedshelf.common.errors import ConfigError
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.strategies.algorithms.fedadagrad import FedAdagrad
from fedshelf.common.strategies.algorithms.fedadam import FedAdam
from fedshelf.common.strategies.algorithms.fedavg import FedAvg
from fedshelf.common.strategies.algorithms.fedavgm import FedAvgM
from fedshelf.common.strategies.algorithms.fedbn import FedBN
from fedshelf.common.strategies.algorithms.feddyn import FedDyn
from fedshelf.common.strategies.algorithms.fednova import FedNova
from fedshelf.common.strategies.algorithms.fedper import FedPer
from fedshelf.common.strategies.algorithms.fedprox import FedProx
from fedshelf.common.strategies.algorithms.fedyogi import FedYogi
from fedshelf.common.strategies.algorithms.krum import Krum
from fedshelf.common.strategies.algorithms.median import Median
from fedshelf.common.strategies.algorithms.multi_krum import MultiKrum
from fedshelf.common.strategies.algorithms.scaffold import Scaffold
from fedshelf.common.strategies.algorithms.trimmed_mean import TrimmedMean
from fedshelf.common.strategies.closed_form.prototypes import Prototypes
from fedshelf.common.strategies.closed_form.ridge import Ridge
from fedshelf.common.strategies.shared.base import Strategy
from fedshelf.common.strategies.shared.local_training import LocalTrainingSummary

# In this order their settings stand in all files.
STRATEGIES: Mapping[str, type[Strategy]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "fedper": FedPer,
    "feddyn": FedDyn,
    "scaffold": Scaffold,
    "fednova": FedNova,
    "fedbn": FedBN,
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedadagrad": FedAdagrad,
    "median": Median,
    "trimmed-mean": TrimmedMean,
    "krum": Krum,
    "multi-krum": MultiKrum,
    "ridge": Ridge,
    "prototypes": Prototypes,
}

AVERAGES = {
    "average_decay": "ema",
    "average_rounds": "swa",
}  # settings of the server's averages, see server.training.weight_averaging


def build(config: StrategyConfig, layout: Layout | None = None) -> Strategy:
    """Return the strategy that `config` names, for vectors of the given `layout`.

    Args:
        config: the name of the strategy, and its settings
        layout: the layout of the vectors; None is enough if no tensor has to be found by its name

    Raises:
        ConfigError: the name is unknown, or a setting differs from its default but this strategy
            does not use it: a run must never ignore a setting that somebody gave.
    """
    strategy_class = find(config.name)
    for key, field in StrategyConfig.model_fields.items():
        if key not in ("name", "average") and getattr(config, key) != field.default:
            _check_use(config, key, strategy_class)
    for key in config.model_extra or {}:
        _check_use(config, key, strategy_class)
    try:
        return strategy_class(config, layout)
    except ValidationError as error:  # another machine's settings of a plug-in
        raise ConfigError(
            f"The settings of strategy {config.name} are not those of the one installed here:"
            f" {error.errors()[0]['loc'][0]}; install the same version everywhere."
        ) from None


def find(name: str) -> type[Strategy]:
    """Return the strategy of a name, of Fedshelf or of an installed package.

    Raises:
        ConfigError: the name is unknown, or the package's strategy cannot be used.
    """
    plugin = plugins.find_plugin(plugins.STRATEGY, name, STRATEGIES)
    if name in STRATEGIES:
        return STRATEGIES[name]
    if plugin is None:
        raise unknown_strategy(name)
    if not (isinstance(plugin, type) and issubclass(plugin, Strategy)):
        raise plugins.wrong_plugin(plugins.STRATEGY, name, "a class derived from Strategy")
    return plugin


def needs_single_updates(strategy_class: type[Strategy]) -> bool:
    """Return whether the server half needs more of a round's updates than their sum."""
    return not strategy_class.takes_sums and (
        strategy_class.update_global_model is not Strategy.update_global_model
        or strategy_class.aggregate_updates is not Strategy.aggregate_updates
        or strategy_class.mean is not Strategy.mean
    )


def names() -> list[str]:
    """Return the names of all strategies, of Fedshelf and of installed packages."""
    return [*STRATEGIES, *plugins.plugin_names(plugins.STRATEGY)]


def _check_use(config: StrategyConfig, key: str, strategy_class: type[Strategy]) -> None:
    """Raise ConfigError if the setting `key` has no effect on the chosen strategy."""
    got = f"Setting strategy.{key} got {getattr(config, key)!r}, but"
    if key in AVERAGES:
        if config.average != AVERAGES[key]:
            raise ConfigError(
                f"{got} strategy.average is {config.average}; it is for {AVERAGES[key]}."
            )
    elif key not in strategy_class.settings_used():
        users = [name for name, strategy in STRATEGIES.items() if key in strategy.settings_used()]
        raise ConfigError(
            f"{got} {config.name} does not use it; it is for {', '.join(users) or 'another'}."
        )


def check(config: RunConfig) -> None:
    """Check that the strategy can be built, and goes with the local training.

    Raises:
        ConfigError: it cannot, or does not.
    """
    if reason := build(config.strategy).incompatible_with(config):
        raise ConfigError(
            f"Setting strategy.name got {config.strategy.name!r}, which {reason}; change one of"
            " them."
        )


def check_compression(config: RunConfig) -> None:
    """Check that the compression can be built, and goes with the strategy.

    Raises:
        ConfigError: it cannot, or does not.
    """
    codec = compression.build(config.messages)
    if codec is not None and codec.sparse and find(config.strategy.name).order_statistic:
        raise ConfigError(
            f"Setting messages.compression got {config.messages.compression!r} with strategy"
            f" {config.strategy.name}, which takes the middle of the stores' values: where most of"
            " them send nothing, that would never change; use fp16 or int8, or another strategy."
        )


__all__ = [
    "STRATEGIES",
    "LocalTrainingSummary",
    "Strategy",
    "build",
    "check",
    "find",
    "names",
    "needs_single_updates",
]
