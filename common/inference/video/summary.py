"""One video in a row of a table: its classes over all frames, and when each was seen."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.predictor import Floats
from fedshelf.common.inference.predictors.verdicts import Verdict
from fedshelf.common.inference.video.observations import Observation
from fedshelf.common.inference.video.timeline import Interval, intervals_of


@dataclass(frozen=True)
class VideoSummary:
    """The predictions for a video.

    Attributes:
        probabilities: float32 [C], mean over the sampled frames
        verdict: the most frequent one of the frames
        intervals: what is seen when
        fault: why it is not the whole video, in words; empty: it is
    """

    probabilities: Floats
    verdict: Verdict
    intervals: tuple[Interval, ...]
    fault: str


def summarize(observations: Iterable[Observation]) -> VideoSummary:
    """Return the predictions for a video by those for its frames.

    Raises:
        DataError: no frame can be read
    """
    seen: list[Observation] = []
    fault = ""
    try:
        for observation in observations:
            seen.append(observation)
    except DataError as error:
        if not seen:
            raise
        fault = str(error)
    verdicts = Counter(observation.verdict for observation in seen)
    return VideoSummary(
        np.mean([observation.probabilities for observation in seen], axis=0, dtype=np.float32),
        verdicts.most_common(1)[0][0],
        tuple(intervals_of(seen)),
        fault,
    )
