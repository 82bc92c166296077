"""The features of a simulation's images, computed before its first round."""

from collections.abc import Callable

import torch

from fedshelf.common.training.extraction_time import ExtractionTime
from fedshelf.common.training.features import FeatureExtractor, plan_extractor
from fedshelf.common.wording import format_count
from fedshelf.server.training.setup import InitialState

MIN_ANNOUNCED = 100  # images whose features take long enough for a line of their own


def feature_extractor(start: InitialState, note: Callable[[str], None]) -> FeatureExtractor | None:
    """Return the extractor of a run's features; None: the run trains on pixels.

    Args:
        start: the run's initial state
        note: called with a line when features have to be computed, and one if that takes long
    """
    plan = start.plan
    expected = ExtractionTime(plan.config)

    def progress(done: int, total: int) -> None:
        told = expected.tell(done, total)
        if done == 1 and total >= MIN_ANNOUNCED:
            told = (
                f"Computing what the frozen part of {plan.spec.name} makes of"
                f" {format_count(total, 'image')} of {plan.spec.image_size} pixels a side; this is"
                " done once and kept."
            )
        if told:
            note(told)

    return plan_extractor(plan, torch.device(plan.config.run.device), progress)
