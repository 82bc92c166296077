"""Settings of a round: the cohort, the messages, the screening of updates, and the evaluation of
the model.
"""

from typing import Annotated, Literal

from pydantic import Field

from fedshelf.common.config.field_types import Count, NonNegative, Positive, Section


class CohortConfig(Section):
    """The choice of a round's stores, and how long the server waits for them."""

    fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of the stores that is sampled for each round"
    )
    min_stores: Count = Field(
        1, description="quorum: a round counts only with at least this many updates"
    )
    timeout: Positive = Field(
        3600.0,
        description="seconds after which a round goes on without the stores that have not answered",
    )
    wait: NonNegative = Field(
        600.0,
        description=(
            "seconds to wait for the quorum to join, or for another store after answers of no use,"
            " before giving up"
        ),
    )


class CommonMessagesConfig(Section):
    """The form in which updates travel, and the settings that all codecs share."""

    compression: str = Field(
        "none",
        description=(
            "encoding of updates: none, fp16 (half the bytes), int8 (a quarter) or top-k (only"
            " the largest changes); a store adds what its encoding lost to its next update"
        ),
    )


class ScreeningConfig(Section):
    """The conditions under which an update counts, and the search for stores whose updates do
    harm.
    """

    norm_factor: NonNegative = Field(
        6.0,
        description=(
            "an update is left out if its L2 norm (of the change that training made) is more"
            " than this many times the usual norm. Usual is the median of the round; a"
            " simulation raises it for stores with more images than the median, and with real"
            " stores, or fewer than four updates, the medians of earlier rounds count, too."
            " With fewer than four updates five times as much is allowed. 0: any norm"
        ),
    )
    images_factor: NonNegative = Field(
        0.0,
        description=(
            "a store's images count for at most this many times the median of the present"
            " stores, because nobody can check the number that a store states; 0: 10 with real"
            " stores, no limit in a simulation"
        ),
    )
    strikes: Annotated[int, Field(ge=0)] = Field(
        3,
        description=(
            "rounds in a row with an invalid answer after which a store is set aside; 0: never"
        ),
    )
    detect: Literal["auto", "on", "off"] = Field(
        "auto",
        description=(
            "in each round, look for swapped labels and poisoned updates: auto (on with real"
            " stores only), on or off"
        ),
    )
    patience: Annotated[int, Field(ge=1, le=10)] = Field(
        3,
        description=(
            "a store is reported once it was under suspicion in this many of the last ten"
            " rounds that it took part in"
        ),
    )
    test_images: Annotated[int, Field(ge=0)] = Field(
        2500,
        description=(
            "largest number of the server's test images on which updates are evaluated in each"
            " round to find wrong labels; 0: none"
        ),
    )
    suspects: Literal["report", "clip", "exclude"] = Field(
        "report",
        description=(
            "action on a store that is reported: report (nothing more), clip (its updates are"
            " scaled down to the median norm of their cohort) or exclude (it is set aside)"
        ),
    )


class EvaluationConfig(Section):
    """The time and place of the global model's evaluations."""

    every: Count = Field(
        1, description="rounds between two evaluations; the last round is always evaluated"
    )
    stores: bool = Field(
        True, description="also evaluate at the stores, on the images that they hold out"
    )
    test_data: str = Field(
        "", description="deployment: folder of test images that the server keeps; empty: none"
    )
    metric: str = Field(
        "accuracy",
        description=(
            "metric that decides the best round and early stopping: accuracy, macro_f1, loss, or"
            " one of evaluation.metrics"
        ),
    )
    metrics: tuple[str, ...] = Field(
        (),
        description=(
            "metrics that are counted beside accuracy, macro_f1 and loss: top3, top5 (share of the"
            " images whose class is among the 3 or 5 best), balanced_accuracy (mean recall of the"
            " classes), worst_class_recall, auroc (area under the ROC curve, mean of the classes),"
            " or one of an installed package; ap (average precision of boxes) and count (error of"
            " the number of products) are of boxes, and iou (overlap of regions) is of masks, which"
            " always count them; empty: none"
        ),
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        0, description="evaluations without improvement before the run ends early; 0: off"
    )
    batch_size: Count = Field(256, description="images per evaluation batch")
