"""The typed run configuration; see `schema` for the settings and `sources` for where they come from."""

from common.config.data import DataConfig
from common.config.federation import CohortConfig, EvaluationConfig, MessagesConfig, ScreeningConfig
from common.config.model_train_strategy import ModelConfig, StrategyConfig, TrainConfig
from common.config.schema import STORES_OWN, RunConfig, RunSection
from common.config.sources import (
    flatten,
    for_another_run,
    from_assignments,
    from_toml,
    known_keys,
    own_settings,
    resolve,
    to_flower,
    to_toml,
)

__all__ = [
    "STORES_OWN",
    "CohortConfig",
    "DataConfig",
    "EvaluationConfig",
    "MessagesConfig",
    "ModelConfig",
    "RunConfig",
    "RunSection",
    "ScreeningConfig",
    "StrategyConfig",
    "TrainConfig",
    "flatten",
    "for_another_run",
    "from_assignments",
    "from_toml",
    "known_keys",
    "own_settings",
    "resolve",
    "to_flower",
    "to_toml",
]
