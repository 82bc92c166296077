"""Intervals of time in which a video shows the same."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.inference.video.observations import Observation


@dataclass(frozen=True)
class Interval:
    """Consecutive frames with the same outcome.

    Attributes:
        first: seconds of the first frame
        last: seconds of the last frame
        frames: number of sampled frames
        verdict: sure, unsure or unknown
        index: of the most probable class; of unsure and unknown frames that of their mean
        probability: mean over the frames, of that class
    """

    first: float
    last: float
    frames: int
    verdict: str
    index: int
    probability: float


class Timeline:
    """The intervals of a video, made as its frames come.

    Frames whose class is sure are of one interval while the class is the same; frames that are
    unsure, or unknown, while the verdict is the same.
    """

    def __init__(self) -> None:
        self._frames: int = 0
        self._first: Observation | None = None
        self._last: Observation | None = None
        self._sums: NDArray[np.float64] = np.zeros(0)

    def add(self, observation: Observation) -> Interval | None:
        """Add the next frame and return the interval that it ends, if any."""
        ended = None
        if self._first is not None and observation.outcome != self._first.outcome:
            ended = self.end()
        if self._first is None:
            self._first = observation
            self._sums = np.zeros(len(observation.probabilities))
        self._last = observation
        self._frames += 1
        self._sums += observation.probabilities
        return ended

    def end(self) -> Interval | None:
        """Return the interval that is under way, if any, and begin anew."""
        if self._first is None or self._last is None:
            return None
        means = self._sums / self._frames
        index = int(means.argmax())
        interval = Interval(
            self._first.seconds,
            self._last.seconds,
            self._frames,
            self._first.verdict,
            index,
            float(means[index]),
        )
        self._first = self._last = None
        self._frames = 0
        return interval


def intervals_of(observations: Iterable[Observation]) -> list[Interval]:
    """Return all intervals of a video's frames."""
    timeline = Timeline()
    ended = [timeline.add(observation) for observation in observations]
    return [interval for interval in [*ended, timeline.end()] if interval is not None]
