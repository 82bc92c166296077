"""The run configuration: every setting of a training, typed, frozen, with its unit and meaning.

A field's description is its documentation: the command line, the errors and the docs print it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

STORES_OWN = "stores"  # the data set of a deployment: what each store holds, which no server opens

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, validate_default=True)


class DataConfig(Section):
    """The images: where they are, how they are split over stores, cleaned and augmented."""

    dataset: str = Field("shelf", description="name of a data set, or a folder of images or parquet files")
    stores: Count = Field(10, description="stores to split the data set over (simulation)")
    partition: str = Field(
        "iid", description="split over stores: iid, dirichlet:ALPHA, shards:K, labels:K, quantity:ALPHA, folder"
    )
    min_images: Count = Field(1, description="images: the least a store gets from a partition")
    holdout: Fraction = Field(
        0.0,
        description="share of each store's training images kept for validation, where the data has no such split",
    )
    classes: tuple[str, ...] = Field((), description="ordered product classes; empty: gathered from the data")
    image_size: Annotated[int, Field(ge=0, le=1024)] = Field(
        0, description="pixels: side of the square image the model sees; 0: chosen from model and data"
    )
    denoise: Literal[0, 3, 5] = Field(0, description="pixels: side of the median filter applied when decoding; 0: none")
    flip: bool = Field(True, description="augmentation: mirror left-right at random")
    crop: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="augmentation, pixels: reflect-pad by this much and crop at random; 0: off"
    )
    rotation: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="augmentation, degrees: rotate by up to this much either way"
    )
    translate: Fraction = Field(0.0, description="augmentation: shift by up to this share of the side")
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="augmentation: zoom by a factor within 1 plus or minus this"
    )
    brightness: Fraction = Field(
        0.0, description="augmentation: multiply intensity by a factor within 1 plus or minus this"
    )
    contrast: Fraction = Field(0.0, description="augmentation: scale contrast by a factor within 1 plus or minus this")


class ModelConfig(Section):
    """The network."""

    name: str = Field("cnn", description="a model of ours, or any torchvision classification model")
    norm: Literal["default", "batch", "group"] = Field(
        "default", description="normalisation layers: the model's own, batch norm, or group norm in their place"
    )
    weights: str = Field("none", description="initial weights: none, torchvision, or a local .safetensors file")
    freeze: bool = Field(False, description="train only the head; the backbone stays as it is and does not travel")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="probability of dropping a feature before the last layer"
    )


class TrainConfig(Section):
    """Local training at a store."""

    epochs: Count = Field(1, description="passes over a store's training images per round")
    batch_size: Count = Field(32, description="images per optimizer step")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="local optimizer")
    lr: Positive = Field(0.05, description="learning rate of the first round")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum of sgd")
    weight_decay: NonNegative = Field(0.0, description="L2 penalty (sgd, adam) or decoupled decay (adamw)")
    l1: NonNegative = Field(0.0, description="L1 penalty: adds this times the sign of each weight to the gradient")
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the target spread over all classes"
    )
    clip_norm: NonNegative = Field(0.0, description="largest L2 norm of a gradient; 0: no clipping")
    loss: Literal["cross-entropy", "squared"] = Field(
        "cross-entropy", description="cross-entropy, or squared error between softmax output and one-hot target"
    )
    schedule: Literal["constant", "step", "cosine"] = Field("constant", description="learning rate over rounds")
    step_rounds: Count = Field(10, description="rounds between two drops of the step schedule")
    step_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="factor of each drop of the step schedule"
    )
    final_lr: Fraction = Field(0.01, description="where the cosine schedule ends, as a share of lr")
    precision: Literal["float32", "mixed"] = Field("float32", description="mixed: bfloat16 arithmetic on CUDA")


class StrategyConfig(Section):
    """The federated algorithm and its settings; a setting that the chosen one does not use is an error."""

    name: str = Field("fedavg", description="federated algorithm")
    weighting: Literal["images", "uniform"] = Field(
        "images", description="weight of a store's update: its number of images, or the same for all"
    )
    mu: NonNegative = Field(0.01, description="fedprox: strength of the pull towards the global model")
    server_lr: NonNegative = Field(
        0.0,
        description="fedavgm, fedadam, fedyogi, fedadagrad: learning rate of the server; 0: 1 for fedavgm, else 0.1",
    )
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="fedavgm: momentum of the server")
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="fedadam, fedyogi: decay of the first moment")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(0.99, description="fedadam, fedyogi: decay of the second moment")
    tau: Positive = Field(
        1e-3, description="fedadam, fedyogi, fedadagrad: degree of adaptivity (added to the root of the second moment)"
    )
    trim: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.2, description="trimmed-mean: share of the values cut off at each end"
    )
    malicious: Annotated[int, Field(ge=0)] = Field(0, description="krum, multi-krum: stores assumed malicious")
    keep: Annotated[int, Field(ge=0)] = Field(0, description="multi-krum: updates averaged; 0: all but the malicious")


class CohortConfig(Section):
    """Which stores take part in a round, and how long the server waits for them."""

    fraction: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="share of the stores sampled for a round")
    min_stores: Count = Field(1, description="quorum: a round counts only with at least this many updates")
    timeout: Positive = Field(3600.0, description="seconds a round may take before missing stores are left out")
    wait: NonNegative = Field(600.0, description="seconds to wait for the quorum to join before giving up")


class MessagesConfig(Section):
    """How updates travel from the stores to the server."""

    compression: str = Field(
        "none",
        description="updates: none, fp16 (half the bytes), int8 (a quarter) or top-k (the largest changes only); what"
        " is left out is sent later",
    )
    keep: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.1, description="top-k: share of the changes that is sent; each takes 3 bytes, where 4 is none"
    )


class ScreeningConfig(Section):
    """What an update must be like to count, and how stores are found whose updates do harm."""

    norm_factor: NonNegative = Field(
        6.0,
        description="largest norm of an update (what training changed), in medians of a cohort of four or more, and as"
        " many times that as the store has times the median's images; 0: any",
    )
    strikes: Annotated[int, Field(ge=0)] = Field(
        3, description="rounds in a row with an invalid answer after which a store is set aside; 0: never"
    )
    detect: Literal["auto", "on", "off"] = Field(
        "auto", description="look for swapped labels and poisoned updates in each round; auto: with real stores only"
    )
    patience: Annotated[int, Field(ge=1, le=10)] = Field(
        3, description="rounds under suspicion, of the last ten that a store took part in, before a person is told"
    )
    test_images: Annotated[int, Field(ge=0)] = Field(
        5000, description="images of the server's test set judged per round to find swapped labels; 0: none"
    )
    exclude_suspects: bool = Field(
        False, description="set stores under suspicion aside, once a person would be told; else only tell"
    )


class EvaluationConfig(Section):
    """When and where the global model is judged."""

    every: Count = Field(1, description="rounds between two evaluations; the last round is always evaluated")
    stores: bool = Field(True, description="also evaluate at the stores, on images they hold out")
    test_data: str = Field("", description="deployment: folder of test images that the server keeps; empty: none")
    metric: Literal["accuracy", "macro_f1", "loss"] = Field(
        "accuracy", description="decides the best round and early stopping"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        0, description="evaluations without improvement before stopping with the best model; 0: off"
    )
    batch_size: Count = Field(256, description="images per evaluation batch")


class RunSection(Section):
    """The run as a whole."""

    name: str = Field("", description="name of the run; empty: made from data set, model and strategy")
    out: str = Field("", description="run directory; empty: runs/NAME")
    rounds: Count = Field(10, description="rounds of training")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="the one number all randomness derives from")
    engine: str = Field(
        "auto",
        description="what executes the stores: sequential, batched, ray, or auto for the fastest that fits",
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="worker processes of the sequential engine; 0: one per core on a CPU"
    )
    ray_address: str = Field(
        "", description="engine ray: HOST:PORT of a cluster, auto for the one that runs here; empty: start one here"
    )
    gpus_per_worker: Fraction = Field(
        0.0, description="engine ray: share of a GPU for each worker; 0: a whole one if the device is cuda, else none"
    )
    device: str = Field("auto", description="auto, cpu, mps, cuda or cuda:N")
    keep_checkpoints: Count = Field(3, description="latest checkpoints kept (the best is always kept)")


class RunConfig(Section):
    """Everything that decides a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    strategy: StrategyConfig = StrategyConfig()
    cohort: CohortConfig = CohortConfig()
    messages: MessagesConfig = MessagesConfig()
    screening: ScreeningConfig = ScreeningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunSection = RunSection()
