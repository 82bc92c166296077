"""The settings of all strategies, readable without PyTorch, which strategies load.

Written by `make settings` from their declarations in `common/strategies`: change them there.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from fedshelf.common.config.field_types import NonNegative, Positive
from fedshelf.common.config.model_train_strategy import CommonStrategyConfig


class StrategyConfig(CommonStrategyConfig):
    """The federated algorithm and its settings."""

    built_in: ClassVar = (
        "fedavg",
        "fedprox",
        "fedper",
        "feddyn",
        "scaffold",
        "fednova",
        "fedbn",
        "fedavgm",
        "fedadam",
        "fedyogi",
        "fedadagrad",
        "median",
        "trimmed-mean",
        "krum",
        "multi-krum",
    )

    mu: NonNegative = Field(
        0.01, description="fedprox: strength of the pull towards the global model"
    )
    personal: tuple[str, ...] = Field(
        (),
        description="fedper: layers that stay at the store, with all inside them; empty: the head",
    )
    alpha: Positive = Field(
        0.01, description="feddyn: strength of the pull towards the global model"
    )
    server_lr: NonNegative = Field(
        0.0,
        description=(
            "scaffold, fedavgm, fedadam, fedyogi, fedadagrad: learning rate of the server; 0: 1"
            " for scaffold and fedavgm, else 0.1"
        ),
    )
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="fedavgm: momentum of the server"
    )
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="fedadam, fedyogi: decay of the first moment"
    )
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.99, description="fedadam, fedyogi: decay of the second moment"
    )
    tau: Positive = Field(
        0.001,
        description=(
            "fedadam, fedyogi, fedadagrad: degree of adaptivity (added to the root of the"
            " second moment)"
        ),
    )
    trim: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.2,
        description=(
            "trimmed-mean: share of the values cut off at each end; below 1 / updates, which is"
            " said, none is"
        ),
    )
    malicious: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "krum, multi-krum: stores assumed malicious, for which a round needs twice as many"
            " updates and three more; with fewer the round says so, and a simulation that can"
            " never have them is refused"
        ),
    )
    keep: Annotated[int, Field(ge=0)] = Field(
        0, description="multi-krum: updates averaged; 0: all but the malicious"
    )
