"""The federated algorithms by name. Adding one: a file beside this one, and a line in STRATEGIES."""

from collections.abc import Mapping

from common.config import RunConfig, StrategyConfig
from common.errors import ConfigError
from common.params import Layout
from common.strategies.base import LocalRun, Strategy
from common.strategies.fedadagrad import FedAdagrad
from common.strategies.fedadam import FedAdam
from common.strategies.fedavg import FedAvg
from common.strategies.fedavgm import FedAvgM
from common.strategies.fedbn import FedBN
from common.strategies.feddyn import FedDyn
from common.strategies.fednova import FedNova
from common.strategies.fedper import FedPer
from common.strategies.fedprox import FedProx
from common.strategies.fedyogi import FedYogi
from common.strategies.krum import Krum
from common.strategies.median import Median
from common.strategies.multi_krum import MultiKrum
from common.strategies.scaffold import Scaffold
from common.strategies.trimmed_mean import TrimmedMean
from common.suggest import did_you_mean

STRATEGIES: Mapping[str, type[Strategy]] = {
    "fedavg": FedAvg,
    "fedprox": FedProx,
    "scaffold": Scaffold,
    "fednova": FedNova,
    "feddyn": FedDyn,
    "fedbn": FedBN,
    "fedper": FedPer,
    "fedavgm": FedAvgM,
    "fedadam": FedAdam,
    "fedyogi": FedYogi,
    "fedadagrad": FedAdagrad,
    "median": Median,
    "trimmed-mean": TrimmedMean,
    "krum": Krum,
    "multi-krum": MultiKrum,
}

AVERAGES = {"average_decay": "ema", "average_rounds": "swa"}  # settings of the server's averages, see server.averaging


def build(config: StrategyConfig, layout: Layout | None = None) -> Strategy:
    """The strategy that `config` names, for the vectors of `layout`; without one, where no named tensor matters.

    Raises ConfigError for an unknown name, and for a setting that differs from its default but that
    this strategy does not use: a run must never ignore what it was told.
    """
    if config.name not in STRATEGIES:
        hint = did_you_mean(config.name, STRATEGIES)
        raise ConfigError(f"Setting strategy.name got {config.name!r}; allowed: {', '.join(STRATEGIES)}.{hint}")
    chosen = STRATEGIES[config.name]
    for key, field in StrategyConfig.model_fields.items():
        if key not in ("name", "average") and getattr(config, key) != field.default:
            _check_use(config, key, chosen)
    return chosen(config, layout)


def _check_use(config: StrategyConfig, key: str, chosen: type[Strategy]) -> None:
    """Raises ConfigError for a setting without effect."""
    got = f"Setting strategy.{key} got {getattr(config, key)!r}, but"
    if key in AVERAGES:
        if config.average != AVERAGES[key]:
            raise ConfigError(f"{got} strategy.average is {config.average}; it is for {AVERAGES[key]}.")
    elif key not in chosen.uses:
        users = [name for name, strategy in STRATEGIES.items() if key in strategy.uses]
        raise ConfigError(f"{got} {config.name} does not use it; it is for {', '.join(users)}.")


def check(config: RunConfig) -> None:
    """Raises ConfigError if the strategy cannot be built, or does not go with the local training."""
    if reason := build(config.strategy).unfit(config):
        raise ConfigError(f"Setting strategy.name got {config.strategy.name!r}, which {reason}; change one of them.")


__all__ = ["STRATEGIES", "LocalRun", "Strategy", "build", "check"]
