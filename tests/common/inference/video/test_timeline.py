"""Intervals, by hand."""

import numpy as np

from fedshelf.common.inference.predictors.verdicts import Verdict
from fedshelf.common.inference.video.observations import Observation
from fedshelf.common.inference.video.timeline import Interval, intervals_of


def seen(seconds: float, first: float, verdict: Verdict = "sure") -> Observation:
    return Observation(seconds, np.array([first, 1 - first], np.float32), verdict)


def test_frames_of_one_class_are_one_interval() -> None:
    frames = [seen(0, 0.75), seen(1, 1), seen(2, 0.25), seen(5, 0)]
    assert intervals_of(frames) == [
        Interval(0, 1, 2, "sure", 0, 0.875),
        Interval(2, 5, 2, "sure", 1, 0.875),
    ]


def test_unsure_and_unknown_frames_are_intervals_of_their_own() -> None:
    frames = [
        seen(0, 0.75),
        seen(1, 0.5, "unsure"),
        seen(2, 0.25, "unsure"),
        seen(3, 0.75, "unknown"),
        seen(4, 0.75),
    ]
    assert intervals_of(frames) == [
        Interval(0, 0, 1, "sure", 0, 0.75),
        Interval(1, 2, 2, "unsure", 1, 0.625),
        Interval(3, 3, 1, "unknown", 0, 0.75),
        Interval(4, 4, 1, "sure", 0, 0.75),
    ]


def test_no_frames_are_no_intervals() -> None:
    assert intervals_of([]) == []
