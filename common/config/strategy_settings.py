"""The settings of all strategies, readable without PyTorch, which strategies load.

Written by `make settings` from their declarations in `common/strategies`: change them there.
"""

from typing import Annotated, ClassVar, Literal

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
        "ridge",
        "prototypes",
    )

    mu: NonNegative = Field(
        0.01, description="fedprox: strength of the pull towards the global model"
    )
    personal: tuple[str, ...] = Field(
        (),
        description=(
            "fedper: names of the layers that stay at the store, each with all layers inside"
            " it; empty: the head"
        ),
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
            "trimmed-mean: share of the values that is cut off at each end; a round with fewer"
            " than 1 / trim updates cuts none off and says so"
        ),
    )
    malicious: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "krum, multi-krum: number f of stores that are assumed to be malicious. A round"
            " needs 2 f + 3 updates to withstand them; with fewer it says so, and a simulation"
            " that can never have so many is refused"
        ),
    )
    keep: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "multi-krum: number of updates that are averaged; 0: all but strategy.malicious of them"
        ),
    )
    ridge_penalty: NonNegative = Field(
        0.0,
        description=(
            "ridge: strength of the pull of the weights towards 0, as a share of the features'"
            " mean square; 0: chosen by generalised cross-validation"
        ),
    )
    class_weights: Literal["balanced", "none"] = Field(
        "balanced",
        description=(
            "ridge: balanced (all classes weigh the same) or none (each weighs as many images"
            " as it has)"
        ),
    )
