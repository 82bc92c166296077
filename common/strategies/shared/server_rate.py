"""The learning rate of the server, which several algorithms have."""

from pydantic import Field

from fedshelf.common.config.field_types import NonNegative, StrategySettings


class ServerRateSettings(StrategySettings):
    """The setting of algorithms that take a step of some length at the server."""

    server_lr: NonNegative = Field(
        0.0, description="learning rate of the server; 0: 1 for scaffold and fedavgm, else 0.1"
    )
