"""Settings of a round: the cohort, the messages, the screening of updates, and the evaluation of
the model.
"""

from typing import Annotated, Literal

from pydantic import Field

from fedshelf.common.config.field_types import Count, NonNegative, Positive, Section


class CohortConfig(Section):
    """The choice of a round's stores, and how long the server waits for them."""

    fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of the stores sampled for a round"
    )
    min_stores: Count = Field(
        1, description="quorum: a round counts only with at least this many updates"
    )
    timeout: Positive = Field(
        3600.0, description="seconds a round may take before missing stores are left out"
    )
    wait: NonNegative = Field(
        600.0, description="seconds to wait for the quorum to join before giving up"
    )


class MessagesConfig(Section):
    """The form in which updates travel from the stores to the server."""

    compression: str = Field(
        "none",
        description=(
            "updates: none, fp16 (half the bytes), int8 (a quarter) or top-k (the largest changes"
            " only); what is left out is sent later"
        ),
    )
    keep: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.1,
        description="top-k: share of the changes that is sent; each takes 3 bytes, where 4 is none",
    )


class ScreeningConfig(Section):
    """The conditions under which an update counts, and the search for stores whose updates do
    harm.
    """

    norm_factor: NonNegative = Field(
        6.0,
        description=(
            "largest norm of an update (what training changed), in medians of a cohort of four or"
            " more; in a simulation as many times that as the store has times the median's images,"
            " with real stores compared with the rounds before, too; five times as much in smaller"
            " cohorts; 0: any"
        ),
    )
    images_factor: NonNegative = Field(
        0.0,
        description=(
            "images that a store counts for at most, in medians of the stores that are there: it"
            " says itself how many it has; 0: 10 with real stores, any number in a simulation"
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
            "look for swapped labels and poisoned updates in each round; auto: with real stores"
            " only"
        ),
    )
    patience: Annotated[int, Field(ge=1, le=10)] = Field(
        3,
        description=(
            "rounds under suspicion, of the last ten that a store took part in, before a person is"
            " told"
        ),
    )
    test_images: Annotated[int, Field(ge=0)] = Field(
        2500,
        description=(
            "images of the server's test set, at most, that are looked at in each round to find"
            " wrong labels; 0: none"
        ),
    )
    suspects: Literal["report", "clip", "exclude"] = Field(
        "report",
        description=(
            "a store under suspicion, once a person is told: report (no more than that), clip (its"
            " updates, to the median norm of their cohort) or exclude (it is set aside)"
        ),
    )


class EvaluationConfig(Section):
    """The time and place of the global model's evaluations."""

    every: Count = Field(
        1, description="rounds between two evaluations; the last round is always evaluated"
    )
    stores: bool = Field(True, description="also evaluate at the stores, on images they hold out")
    test_data: str = Field(
        "", description="deployment: folder of test images that the server keeps; empty: none"
    )
    metric: Literal["accuracy", "macro_f1", "loss"] = Field(
        "accuracy", description="decides the best round and early stopping"
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        0, description="evaluations without improvement before the run ends early; 0: off"
    )
    batch_size: Count = Field(256, description="images per evaluation batch")
