"""What a launcher can tell of a run's settings before it starts anything."""

from fedshelf.common import models
from fedshelf.common.config import RunConfig, StrategyConfig
from fedshelf.common.models.spec import STORE_CHANNELS


def check_early(config: RunConfig) -> None:
    """Raises ConfigError, DataError for a model that cannot be built: better now than when stores have joined.

    PyTorch, which costs seconds and 500 MB, is loaded only to check what needs it: networks of torchvision's, weights
    from a file, and a strategy that somebody has chosen.
    """
    models.specify(config.model, (), image_size=config.data.image_size, native_size=None, channels=STORE_CHANNELS)
    models.check_weights(config.model)
    if config.strategy != StrategyConfig():
        from fedshelf.common import strategies

        strategies.build(config.strategy)
