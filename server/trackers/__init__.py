"""The trackers of experiments by name, for `run.track`: see `server.trackers.tracker`.

To add one, write a file in this folder and a line in TRACKERS.
"""

import importlib.util
from collections.abc import Mapping

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import did_you_mean
from fedshelf.server.trackers.mlflow import MlflowTracker
from fedshelf.server.trackers.tracker import ExperimentTracker
from fedshelf.server.trackers.wandb import WandbTracker

TRACKERS: Mapping[str, type[ExperimentTracker]] = {
    "mlflow": MlflowTracker,
    "wandb": WandbTracker,
}


def check(config: RunConfig) -> None:
    """Check that the trackers of a run exist and are ready here.

    Raises:
        ConfigError: a name is unknown, a package is not installed, or a tracker does not know where
            to log.
    """
    for name in config.run.track:
        if name not in TRACKERS:
            raise ConfigError(
                f"Setting run.track got {name!r}; expected {', '.join(TRACKERS)}, or"
                f" several of them, separated by commas.{did_you_mean(name, TRACKERS)}"
            )
        # as in `common.hub`: found, but not imported
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"run.track={name} needs the package {name}; install it with"
                f" pip install 'fedshelf[{name}]'."
            )
        TRACKERS[name].check()
