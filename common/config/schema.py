"""The run configuration: every setting of a training, typed, frozen, with its unit and meaning.

A field's description is its documentation: the command line, the errors and the docs print it.
"""

import math
from typing import Annotated, Literal

from pydantic import Field

from fedshelf.common.config.codec_settings import MessagesConfig
from fedshelf.common.config.data import DataConfig, DistinctNames
from fedshelf.common.config.federation import (
    CohortConfig,
    EvaluationConfig,
    ScreeningConfig,
)
from fedshelf.common.config.field_types import Count, Fraction, Section
from fedshelf.common.config.model_train_strategy import ModelConfig, TrainConfig
from fedshelf.common.config.privacy import PrivacyConfig
from fedshelf.common.config.strategy_settings import StrategyConfig

STORES_OWN = "stores"  # the data set of a deployment: the stores' own images, which no server opens


Recipe = Literal["auto", "none", "ridge", "head", "finetune", "scratch", "boxes", "masks"]


class RunSection(Section):
    """The run as a whole."""

    name: str = Field(
        "", description="name of the run; empty: made from data set, model and strategy"
    )
    out: str = Field(
        "",
        description="run directory; empty: a new one below runs/",
        json_schema_extra={"type": "path"},
    )
    recipe: Recipe = Field(
        "auto",
        description=(
            "settings that go together, for those that are not given: ridge (one exact round for"
            " the head of a frozen, pretrained network), head (the same head by training),"
            " finetune (trains a finished model further), scratch (a small network from nothing),"
            " boxes (a small network that finds products on scenes), masks (one that tells their"
            " pixels), none, or auto: for scenes boxes, or masks if that is the objective; for"
            " other photos ridge, or head if settings say how to train, or scratch without"
            " pretrained weights; none if another network is given"
        ),
    )
    rounds: Count = Field(10, description="rounds of training")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="number from which all randomness of the run derives"
    )
    engine: str = Field(
        "auto",
        description=(
            "engine that trains the stores: sequential, batched (many stores at once on a"
            " GPU), ray, or auto for the fastest that fits"
        ),
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="worker processes of the sequential engine; 0: one per core on a CPU"
    )
    ray_address: str = Field(
        "",
        description=(
            "engine ray: HOST:PORT of a cluster, or auto for the cluster on this machine;"
            " empty: start one on this machine"
        ),
        json_schema_extra={"metavar": "HOST:PORT"},
    )
    gpus_per_worker: Fraction = Field(
        0.0,
        description=(
            "engine ray: share of a GPU for each worker; 0: a whole GPU if the device is cuda,"
            " else none"
        ),
    )
    device: str = Field("auto", description="device: auto, cpu, mps, cuda or cuda:N")
    deliver: Literal["auto", "best", "last"] = Field(
        "auto",
        description=(
            "round whose model is delivered: best (by evaluation.metric on validation images,"
            " never on test images), last, or auto (best if there are validation images, else"
            " last)"
        ),
    )
    keep_checkpoints: Count = Field(
        3, description="latest checkpoints kept (the best is always kept)"
    )
    track: DistinctNames = Field(
        (),
        description=(
            "trackers that get settings, curves, report and model, separated by commas: mlflow"
            " (MLflow, at MLFLOW_TRACKING_URI), wandb (Weights & Biases, offline without a login"
            " or with WANDB_MODE=offline); empty: none, and nothing is sent anywhere"
        ),
    )


class RunConfig(Section):
    """All settings of a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    strategy: StrategyConfig = StrategyConfig()
    cohort: CohortConfig = CohortConfig()
    messages: MessagesConfig = MessagesConfig()
    screening: ScreeningConfig = ScreeningConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunSection = RunSection()

    def fewest_steps(self, images: int) -> int:
        """Return the fewest optimizer steps of a round at a store with so many images."""
        if self.privacy.is_on:
            return self.privacy.steps
        train = self.train
        return 1 if train.seconds else max(1, images // train.batch) * train.passes

    def most_steps(self, images: int) -> int:
        """Return the most optimizer steps of a round at a store with so many images."""
        if self.privacy.is_on:
            return self.privacy.steps
        return math.ceil(images / self.train.batch) * self.train.passes
