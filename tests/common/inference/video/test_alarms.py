"""Alarms, by hand: frames a second apart, with the probability of class 0 in each."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedshelf.common.errors import ConfigError
from fedshelf.common.inference.predictors.verdicts import Verdict
from fedshelf.common.inference.video.alarms import AlarmRule, AlarmState, ItemAlarms, parse_alarm
from fedshelf.common.inference.video.observations import Observation


def alarms(
    scores: Sequence[float], *, frames: int = 2, quiet: float = 0, verdict: Verdict = "sure"
) -> list[tuple[float, float, float]]:
    """Time, beginning and probability of each alarm, for scores of 0.75 and more."""
    state = AlarmState(AlarmRule(0, 0.75, frames, quiet))
    given_alarms = [
        state.add(Observation(second, np.array([score, 1 - score], np.float32), verdict))
        for second, score in enumerate(scores)
    ]
    return [(alarm.seconds, alarm.since, alarm.probability) for alarm in given_alarms if alarm]


def test_an_alarm_needs_frames_in_a_row() -> None:
    assert alarms([0, 1, 0, 1, 0, 1]) == []
    assert alarms([0, 1, 0.75, 1, 1]) == [(2, 1, 0.875)]
    assert alarms([0.5, 0.75, 1], frames=1) == [(1, 1, 0.75)]


def test_it_is_given_once_per_event() -> None:
    assert len(alarms([1] * 50)) == 1
    assert len(alarms([1] * 10 + [0] + [1] * 10)) == 1, "one frame is no end"
    assert [second for second, _, _ in alarms([1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1])] == [1, 5, 11]


def test_it_is_quiet_for_a_while() -> None:
    come_and_go = [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1]
    assert [second for second, _, _ in alarms(come_and_go, quiet=5)] == [1, 9]
    assert [second for second, _, _ in alarms(come_and_go, quiet=9)] == [1, 10], "still there then"
    assert [second for second, _, _ in alarms(come_and_go, quiet=20)] == [1]


def test_unknown_frames_show_nothing() -> None:
    assert alarms([1] * 9, verdict="unknown") == []
    assert len(alarms([1] * 9, verdict="unsure")) == 1


@given(
    st.lists(st.booleans(), max_size=60),
    st.integers(1, 4),
    st.integers(0, 20),
)
def test_between_two_alarms_it_is_gone_and_quiet(
    shown: list[bool], frames: int, quiet: int
) -> None:
    seconds = [int(second) for second, _, _ in alarms(shown, frames=frames, quiet=quiet)]
    for before, after in pairwise(seconds):
        assert after - before >= quiet
        between = "".join("x" if show else "." for show in shown[before + 1 : after])
        assert "." * frames in between
    for second in seconds:
        assert all(shown[second - frames + 1 : second + 1])


def item_alarms(
    frames_of: Sequence[str], *, frames: int = 2, quiet: float = 0
) -> list[tuple[int, float]]:
    """Item and second of each alarm; an item's frames are x (shows the class), o (another), ' '."""
    state = ItemAlarms(AlarmRule(0, 0.75, frames, quiet))
    scores = {"x": 0.9, "o": 0.1}
    told = []
    for second in range(max(map(len, frames_of))):
        shown = {
            number: Observation(
                second, np.array([scores[row[second]], 1 - scores[row[second]]], np.float32), "sure"
            )
            for number, row in enumerate(frames_of, start=1)
            if row[second : second + 1] in scores
        }
        told += [(number, alarm.seconds) for number, alarm in state.add(shown)]
    return told


def test_each_item_is_told_once() -> None:
    assert item_alarms(["xxxx", " xxx"]) == [(1, 1), (2, 2)]
    assert item_alarms(["xxooooxx"]) == [(1, 1)], "what it is taken for may change"
    assert item_alarms(["xx    xxxx"]) == [(1, 1)], "it comes back"
    assert item_alarms(["xoxoxo", "oooo"]) == []


def test_a_frame_without_the_item_is_none_of_a_row() -> None:
    assert item_alarms(["xx xx xxx"], frames=3) == [(1, 8)]


def test_items_wait_until_the_alarm_may_come_again() -> None:
    assert item_alarms(["xxxxxxxx", "xxxxxxxx", "xx"], quiet=4) == [(1, 1), (2, 5)]


@given(
    st.lists(st.text("xo ", max_size=20), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 6),
)
def test_an_alarm_tells_an_item_that_shows_it_and_never_twice(
    rows: list[str], frames: int, quiet: int
) -> None:
    told = item_alarms(rows, frames=frames, quiet=quiet)
    assert len({number for number, _ in told}) == len(told)
    for number, second in told:
        assert rows[number - 1][int(second) - frames + 1 : int(second) + 1] == "x" * frames
    for (_, before), (_, after) in pairwise(told):
        assert after - before >= quiet
    if not quiet:
        assert {number for number, _ in told} == {
            number for number, row in enumerate(rows, start=1) if "x" * frames in row
        }


def test_alarms_are_named_by_class_and_score() -> None:
    classes, names = ("c1", "c:2"), ("Boots", "Rain: coats")
    assert parse_alarm("Boots:0.9", 3, 5, classes, names) == AlarmRule(0, 0.9, 3, 5)
    assert parse_alarm("c1", 3, 5, classes, names) == AlarmRule(0, 0.8, 3, 5)
    assert parse_alarm("Rain: coats", 3, 5, classes, names) == AlarmRule(1, 0.8, 3, 5)
    assert parse_alarm("c:2:1", 3, 5, classes, names) == AlarmRule(1, 1, 3, 5)
    with pytest.raises(ConfigError, match=r"Boots, Rain: coats.*Did you mean Boots"):
        parse_alarm("Boot:0.9", 3, 5, classes, names)
    for score in ("0", "1.5", "nan", "high", ""):
        with pytest.raises(ConfigError, match="expected a probability"):
            parse_alarm(f"Boots:{score}", 3, 5, classes, names)
