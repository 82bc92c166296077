"""Settings of the network, its local training, and what federated algorithms share."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from fedshelf.common.config.field_types import Count, Fraction, NonNegative, Positive, Section


def _frozen_part(value: Any) -> Any:
    if not (isinstance(value, str) and re.fullmatch(r"none|backbone|last:[1-9]\d{0,2}", value)):
        raise PydanticCustomError("freeze", "none, backbone or last:K, for example last:1")
    return value


Freeze = Annotated[str, BeforeValidator(_frozen_part)]
"""The part of a network that does not train, as `ModelConfig.freeze` describes it."""


class ModelConfig(Section):
    """The network."""

    name: str = Field(
        "cnn",
        description=(
            "one of Fedshelf's models, any torchvision classification model, some of its networks"
            " for scenes (docs/how-to/scenes.md), timm:NAME for any architecture of timm,"
            " hf:OWNER/NAME for a network and its weights on the Hugging Face hub, module:Object"
            " for one of your own, or auto: as run.recipe chooses"
        ),
    )
    norm: Literal["default", "batch", "group", "frozen"] = Field(
        "default",
        description=(
            "normalisation layers: default (the model's own; with published weights, frozen),"
            " batch (batch norm), group (group norm in place of batch norm) or frozen (batch"
            " norm that keeps the statistics of its initial weights)"
        ),
    )
    weights: str = Field(
        "none",
        description=(
            "initial weights: none, imagenet (published weights: from a package, from a cache"
            " of torchvision or timm, or downloaded), hf:OWNER/NAME, or a local .safetensors"
            " file; a model hf:OWNER/NAME begins with its own"
        ),
        json_schema_extra={"metavar": "FILE"},
    )
    freeze: Freeze = Field(
        "none",
        description=(
            "layers that are neither trained nor sent: none, backbone (all but the head),"
            " last:K (all but the head and the last K blocks)"
        ),
    )
    resume_from: str = Field(
        "",
        description=(
            "model to start from: a finished run, its model.safetensors, or RUN@best, RUN@last"
            " or RUN@N of a run that may be unfinished; the new run has its network, all its"
            " classes, and any new classes of the data"
        ),
        json_schema_extra={"metavar": "MODEL", "type": "path"},
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability of dropping a feature before the last layer"
    )


class TrainConfig(Section):
    """Local training at a store."""

    objective: Literal["classes", "turns", "boxes", "masks"] = Field(
        "classes",
        description=(
            "task that the model learns: classes (of products), turns (by how many quarter"
            " turns a photo was turned; such photos need no class; a run for classes can"
            " start from its model, model.weights), boxes (where products are on photos of"
            " scenes) or masks (which of their pixels are of products)"
        ),
    )
    epochs: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "passes over a store's training images per round; 0: chosen from the data, 5 for"
            " photos and 1 for a data set whose images all have one given size"
        ),
    )
    seconds: NonNegative = Field(
        0.0,
        description=(
            "seconds after which a store ends its training of a round, but never before one"
            " step; results with such a limit are not reproducible; 0: all epochs"
        ),
    )
    batch_size: Annotated[int, Field(ge=0)] = Field(
        0,
        description=(
            "images per optimizer step; 0: chosen from the data, 16 for photos and 32 for a"
            " data set whose images all have one given size"
        ),
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(
        "sgd", description="local optimizer: sgd, adam or adamw"
    )
    lr: Positive = Field(0.05, description="learning rate of the first round")
    backbone_lr: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description=(
            "learning rate of all but the head, as a share of lr; to freeze it, see model.freeze"
        ),
    )
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum of sgd")
    weight_decay: NonNegative = Field(
        0.0, description="L2 penalty (sgd, adam) or decoupled decay (adamw)"
    )
    l1: NonNegative = Field(
        0.0, description="L1 penalty: adds this times the sign of each weight to the gradient"
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description=(
            "share of the target that is spread over all classes: evenly, or, with"
            " strategy.absent_classes mask or weigh, in proportion to their weights in the"
            " store's softmax"
        ),
    )
    clip_norm: NonNegative = Field(0.0, description="largest L2 norm of a gradient; 0: no clipping")
    loss: Literal["cross-entropy", "squared"] = Field(
        "cross-entropy",
        description=(
            "cross-entropy, or squared (squared error between softmax output and one-hot target)"
        ),
    )
    schedule: Literal["constant", "step", "cosine"] = Field(
        "constant",
        description="course of the learning rate over the rounds: constant, step or cosine",
    )
    step_rounds: Count = Field(10, description="rounds between two drops of the step schedule")
    step_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="factor of each drop of the step schedule"
    )
    final_lr: Fraction = Field(
        0.01,
        description=(
            "learning rate of the cosine schedule in the last round, as a share of lr; 0: no"
            " store learns in the last round, and scaffold and fednova refuse it"
        ),
    )
    precision: Literal["float32", "mixed", "auto"] = Field(
        "float32",
        description=(
            "arithmetic of training: float32; mixed (products in bfloat16 on CUDA, and on a CPU"
            " with AVX512-BF16 or AMX; else float32); or auto (a simulation on a CPU takes the"
            " faster one for its network, measured once on its machine; else float32)"
        ),
    )

    @property
    def passes(self) -> int:
        """The number of epochs: `epochs`, or 1 if it is not chosen yet.

        Runs choose it (`server.training.setup.settle`) before they begin.
        """
        return self.epochs or 1

    @property
    def batch(self) -> int:
        """The batch size: `batch_size`, or 32 if it is not chosen yet, as with `passes`."""
        return self.batch_size or 32


class CommonStrategyConfig(Section):
    """The federated algorithm, and the settings that all algorithms share.

    A setting that the chosen algorithm does not use is an error. The settings of an installed
    package's strategy (`common.plugins`) are extra fields, which that strategy checks.
    """

    model_config = ConfigDict(extra="allow")
    built_in: ClassVar[tuple[str, ...]] = ()  # names of the strategies whose settings are fields

    name: str = Field(
        "fedavg",
        description="federated algorithm, or module:Object for one of your own",
    )
    weighting: Literal["images", "uniform"] = Field(
        "images",
        description="weight of a store's update: images (as many as it has), or uniform (the same)",
    )
    absent_classes: Literal["auto", "full", "mask", "weigh"] = Field(
        "auto",
        description=(
            "training of a store that lacks some of the C classes: full (all classes count"
            " alike), weigh (the store adds log max(share, 0.03 / C) to each class's score,"
            " with the class's share of its images; each row of the head is averaged over the"
            " stores that have its class), mask (as weigh, but all classes that the store has"
            " get the same share), auto (chosen from the data: weigh for photos if the"
            " strategy makes one mean model for all stores, or solves for one, else full)"
        ),
    )
    average: Literal["none", "ema", "swa"] = Field(
        "none",
        description=(
            "model that is evaluated and delivered: none (the last round's), ema (a mean of"
            " all rounds' models, in which earlier rounds weigh less) or swa (the plain mean"
            " of the run's last average_rounds models)"
        ),
    )
    average_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.8,
        description=(
            "average ema: weight of a round's model, as a share of the weight of the next"
            " round's model"
        ),
    )
    average_rounds: Count = Field(
        5, description="average swa: rounds at the end of the run whose models are averaged"
    )

    @model_validator(mode="after")
    def _has_no_foreign_settings(self) -> Self:
        if self.model_extra and self.name in self.built_in:
            raise PydanticCustomError(
                "extra_forbidden",
                "no setting {key}",
                {"key": next(iter(self.model_extra))},
            )
        return self

    @property
    def absent(self) -> Literal["full", "mask", "weigh"]:
        """The mode for absent classes: `absent_classes`, or full if it is not chosen yet."""
        return "full" if self.absent_classes == "auto" else self.absent_classes
