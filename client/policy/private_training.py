"""The policy's demand of differential privacy, decided by an order's configuration alone."""

from collections.abc import Sequence
from functools import lru_cache

import torch

from fedshelf.client.policy.refusal import refuse
from fedshelf.common import models, strategies
from fedshelf.common.config import RunConfig, flatten
from fedshelf.common.errors import ConfigError
from fedshelf.common.models.norms import has_moving_statistics
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.privacy.dp_settings import check_settings
from fedshelf.common.tasks import scene_task_of_classes

# settings on which it depends how many photos a store has, and which of them are held out
_ONE_WAY_TO_COUNT = {"data.split": "class", "data.merge_spellings": False}


def check_privacy(config: RunConfig, spec: ModelSpec | None, classes: Sequence[str]) -> None:
    """Check that a run trains with differential privacy; raise StoreError if not.

    Args:
        config: Settings of the run.
        spec: Its model; None if it is not known yet, as when a store joins.
        classes: Those that the policy names. They decide whether photos are of single products or
            of scenes, as a folder may have both.
    """
    strategy = config.strategy.name
    if strategies.find(strategy).closed_form:
        refuse("epsilon", f"{strategy} sends sums over the photos without noise")
    if not config.privacy.is_on:
        refuse("epsilon", "it trains without differential privacy (privacy.clip is 0)")
    if not config.privacy.noise:
        refuse("epsilon", "it trains without noise (privacy.noise is 0)")
    try:
        check_settings(config)
    except ConfigError as error:
        refuse("epsilon", str(error).removesuffix("."))
    task = scene_task_of_classes(classes)
    objective = task.name if task else "classes"
    for key, value in {**_ONE_WAY_TO_COUNT, "train.objective": objective}.items():
        if (got := flatten(config)[key]) != value:
            refuse(
                "epsilon",
                f"{key} is {got}, and photos are counted and held out in one way alone ({value}):"
                " more than one would tell which photo counts where",
            )
    if spec is not None and _has_batch_norm(spec):
        refuse("epsilon", f"{spec.name} has batch norm, which mixes photos; expected group norm")


@lru_cache(maxsize=8)
def _has_batch_norm(spec: ModelSpec) -> bool:
    with torch.device("meta"):  # no memory, no initial weights
        module = models.build(spec)
    return any(has_moving_statistics(layer) for layer in module.modules())
