"""The typed run configuration: `schema` has the settings, `sources` reads them."""

from fedshelf.common.config.codec_settings import MessagesConfig
from fedshelf.common.config.data import DataConfig
from fedshelf.common.config.federation import (
    CohortConfig,
    EvaluationConfig,
    ScreeningConfig,
)
from fedshelf.common.config.model_train_strategy import ModelConfig, TrainConfig
from fedshelf.common.config.privacy import PrivacyConfig
from fedshelf.common.config.schema import STORES_OWN, RunConfig, RunSection
from fedshelf.common.config.sources import (
    as_list,
    flatten,
    for_another_run,
    from_assignments,
    from_toml,
    known_keys,
    own_settings,
    read_resolved,
    resolve,
    to_flower,
    to_toml,
)
from fedshelf.common.config.strategy_settings import StrategyConfig

__all__ = [
    "STORES_OWN",
    "CohortConfig",
    "DataConfig",
    "EvaluationConfig",
    "MessagesConfig",
    "ModelConfig",
    "PrivacyConfig",
    "RunConfig",
    "RunSection",
    "ScreeningConfig",
    "StrategyConfig",
    "TrainConfig",
    "as_list",
    "flatten",
    "for_another_run",
    "from_assignments",
    "from_toml",
    "known_keys",
    "own_settings",
    "read_resolved",
    "resolve",
    "to_flower",
    "to_toml",
]
