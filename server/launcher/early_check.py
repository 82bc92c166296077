"""Check of a run's settings before anything is started."""

from fedshelf.common import models
from fedshelf.common.config import RunConfig, StrategyConfig
from fedshelf.common.models.spec import STORE_CHANNELS


def check_early(config: RunConfig) -> None:
    """Check that the model can be built, before stores join; raise ConfigError or DataError if it
    cannot.

    PyTorch, which costs seconds and 500 MB, is loaded only for checks that need it: of
    torchvision's networks, weights from a file, and a chosen strategy.
    """
    models.specify(
        config.model,
        (),
        image_size=config.data.image_size,
        native_size=None,
        channels=STORE_CHANNELS,
    )
    models.check_weights(config.model)
    if config.strategy != StrategyConfig():
        from fedshelf.common import strategies

        strategies.build(config.strategy)
