"""The features of a simulation's images, computed before its first round."""

import torch
from rich.console import Console

from fedshelf.common.training.features import FeatureExtractor, plan_extractor
from fedshelf.common.wording import format_count
from fedshelf.server.training.setup import InitialState

MIN_ANNOUNCED = 100  # images whose features take long enough for a line of their own


def feature_extractor(start: InitialState, console: Console) -> FeatureExtractor | None:
    """Return the extractor of a run's features; None: the run trains on pixels.

    Args:
        start: the run's initial state
        console: gets a line when features have to be computed
    """
    plan = start.plan

    def progress(done: int, total: int) -> None:
        if done == 1 and total >= MIN_ANNOUNCED:
            console.print(
                f"Computing what the frozen part of {plan.spec.name} makes of"
                f" {format_count(total, 'image')}; this is done once and kept.",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )

    return plan_extractor(plan, torch.device(plan.config.run.device), progress)
