"""The three kinds of settings: they tell which may change when a run goes on, and what that means
for its results.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from fedshelf.common.config.schema import RunConfig
from fedshelf.common.config.sources import flatten, known_keys


class Kind(StrEnum):
    """The subject of a setting.

    MATHEMATICS: the model, the data, and how they are evaluated; fixed for the life of a run
    OPERATOR: how the run is conducted; may change at each restart, and the history tells in which
    round MACHINE: the hardware and the place; may change at each restart, and changes nothing in
    the results but the last
        digits
    """

    MATHEMATICS = "mathematics"
    OPERATOR = "operator"
    MACHINE = "machine"


OPERATOR_KEYS = frozenset(
    {
        "cohort.min_stores", "cohort.timeout", "cohort.wait", "data.confirmed_classes",
        "evaluation.every", "evaluation.metrics", "evaluation.patience", "run.deliver",
        "run.keep_checkpoints", "run.rounds", "screening.detect", "screening.norm_factor",
        "screening.patience", "screening.strikes", "screening.suspects", "screening.test_images",
    }
)  # fmt: skip
MACHINE_KEYS = frozenset(
    {
        "evaluation.batch_size", "run.device", "run.gpus_per_worker", "run.name", "run.out",
        "run.ray_address", "run.track", "run.workers",
    }
)  # fmt: skip
MATHEMATICS_KEYS = frozenset(
    {
        "cohort.fraction", "evaluation.metric", "evaluation.stores", "evaluation.test_data",
        "run.engine", "run.recipe", "run.seed", "screening.images_factor",
    }
)  # fmt: skip
# except the keys above
MATHEMATICS_SECTIONS = frozenset({"data", "messages", "model", "privacy", "strategy", "train"})

SETTING_KINDS: Mapping[str, Kind] = {
    **{
        key: Kind.MATHEMATICS
        for key in known_keys()
        if key.partition(".")[0] in MATHEMATICS_SECTIONS
    },
    **dict.fromkeys(MATHEMATICS_KEYS, Kind.MATHEMATICS),
    **dict.fromkeys(OPERATOR_KEYS, Kind.OPERATOR),
    **dict.fromkeys(MACHINE_KEYS, Kind.MACHINE),
}


def is_fixed(key: str) -> bool:
    """Return whether a setting keeps its value for the life of a run."""
    return kind_of(key) is Kind.MATHEMATICS


def kind_of(key: str) -> Kind:
    """Return the kind of a setting; those that plug-ins add belong to their strategy."""
    return SETTING_KINDS.get(key, Kind.MATHEMATICS)


def of_operator(config: RunConfig) -> dict[str, Any]:
    """Return the operator's settings in their flat form, with values as JSON has them."""
    flat = flatten(config)
    return {
        key: list(flat[key]) if isinstance(flat[key], tuple) else flat[key]
        for key in flat
        if kind_of(key) is Kind.OPERATOR
    }
