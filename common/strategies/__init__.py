"""The federated algorithms by name.

To add one, write a file in `algorithms` and a line in STRATEGIES; if it has settings of its own,
`make settings` puts them into the schema.
"""

from collections.abc import Mapping

from fedshelf.common import compression
from fedshelf.common.config import RunConfig, StrategyConfig
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
from fedshelf.common.strategies.shared.base import LocalTrainingSummary, Strategy
from fedshelf.common.suggest import did_you_mean

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
    if config.name not in STRATEGIES:
        hint = did_you_mean(config.name, STRATEGIES)
        raise ConfigError(
            f"Setting strategy.name got {config.name!r}; allowed: {', '.join(STRATEGIES)}.{hint}"
        )
    strategy_class = STRATEGIES[config.name]
    for key, field in StrategyConfig.model_fields.items():
        if key not in ("name", "average") and getattr(config, key) != field.default:
            _check_use(config, key, strategy_class)
    return strategy_class(config, layout)


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
        raise ConfigError(f"{got} {config.name} does not use it; it is for {', '.join(users)}.")


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
    strategy = STRATEGIES.get(config.strategy.name)
    if codec is not None and codec.sparse and strategy is not None and strategy.order_statistic:
        raise ConfigError(
            f"Setting messages.compression got {config.messages.compression!r} with strategy"
            f" {config.strategy.name}, which takes the middle of the stores' values: where most of"
            " them send nothing, that would never change; use fp16 or int8, or another strategy."
        )


__all__ = ["STRATEGIES", "LocalTrainingSummary", "Strategy", "build", "check"]
