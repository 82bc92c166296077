"""Tracks: each item of a video counts once."""

import numpy as np
import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.common.inference.scenes.lines import LineCount, ZoneCount, parse_line
from fedshelf.common.inference.scenes.tracking import FRAMES_OF_AN_ITEM, Tracker
from fedshelf.common.inference.video.zone import parse_zone
from fedshelf.common.scenes.boxes import Boxes

SIDE = 40


def frame(*items: tuple[float, float, float]) -> Boxes:
    """Boxes of SIDE pixels: (x and y of the middle, score)."""
    half = SIDE / 2
    corners = [[x - half, y - half, x + half, y + half] for x, y, _ in items]
    scores = np.array([score for *_, score in items], np.float32)
    return Boxes(np.array(corners, np.float32).reshape(-1, 4), np.full(len(items), -1), scores)


def numbers(tracker: Tracker, seconds: float, boxes: Boxes) -> list[int]:
    """The items' numbers in the order of their boxes."""
    shown = tracker.add(seconds, boxes)
    return [shown[place].number for place in range(len(boxes)) if place in shown]


def test_what_is_seen_often_enough_is_an_item_with_one_number() -> None:
    tracker = Tracker()
    told = [numbers(tracker, t / 10, frame((100 + t, 50, 0.9))) for t in range(6)]
    assert FRAMES_OF_AN_ITEM == 3
    assert told == [[], [], [1], [1], [1], [1]]


def test_something_in_one_frame_alone_is_no_item() -> None:
    tracker = Tracker()
    for t in range(20):
        tracker.add(t / 10, frame((50 + 100 * (t % 3), 50, 0.9)))
    assert tracker.items == 0


def test_items_that_meet_keep_their_numbers() -> None:
    """They pass each other at 20 pixels a frame; speed tells which is which."""
    tracker = Tracker()
    for t in range(21):
        told = numbers(tracker, t / 10, frame((100 + 10 * t, 50, 0.9), (300 - 10 * t, 62, 0.9)))
    assert told == [1, 2]
    assert tracker.items == 2


def test_an_item_half_hidden_goes_on_by_an_unsure_box() -> None:
    tracker = Tracker()
    scores = [0.9, 0.9, 0.9, 0.2, 0.2, 0.2, 0.9]
    told = [numbers(tracker, t / 10, frame((100, 50, score))) for t, score in enumerate(scores)]
    assert told[2:] == [[1]] * 5


def test_unsure_boxes_alone_are_no_item() -> None:
    tracker = Tracker()
    for t in range(10):
        assert numbers(tracker, t / 10, frame((100, 50, 0.4))) == []
    assert tracker.items == 0


@pytest.mark.parametrize(("hidden_seconds", "items"), [(1.0, 1), (2.5, 2)])
def test_an_item_out_of_sight_is_waited_for_two_seconds(hidden_seconds: float, items: int) -> None:
    """It moves on behind something, at 40 pixels a second."""
    tracker = Tracker()
    for t in range(5):
        tracker.add(t / 10, frame((100 + 4 * t, 50, 0.9)))
    tracker.add(0.5, frame())
    for t in range(5):
        seconds = 0.4 + hidden_seconds + t / 10
        tracker.add(seconds, frame((100 + 40 * seconds, 50, 0.9)))
    assert tracker.items == items


def test_each_item_crosses_a_line_once_in_each_direction() -> None:
    """One item crosses, trembles about the line, and goes back; another passes beside its end."""
    tracker = Tracker()
    count = LineCount(parse_line("0.5,0,0.5,0.5"))
    way = [60, 70, 80, 90, 101, 99, 102, 98, 101, 110, 120, 110, 101, 90, 80, 70]
    for t, x in enumerate(way):
        shown = tracker.add(t / 10, frame((x, 50, 0.9), (x, 150, 0.9)))
        count.add(shown, 200, 200)
    assert (count.to_right, count.to_left) == (1, 1)


def test_right_is_right_for_somebody_who_looks_along_the_line() -> None:
    """Up the picture, from its lower edge: what goes to the picture's right goes to the right."""
    tracker = Tracker()
    up, down = LineCount(parse_line("100,200,100,0")), LineCount(parse_line("100,0,100,200"))
    for t in range(10):
        shown = tracker.add(t / 10, frame((60 + 10 * t, 100, 0.9)))
        up.add(shown, 200, 200)
        down.add(shown, 200, 200)
    assert (up.to_right, up.to_left) == (1, 0)
    assert (down.to_right, down.to_left) == (0, 1)


def test_a_zone_counts_each_item_once_and_those_in_it_now() -> None:
    tracker = Tracker()
    count = ZoneCount(parse_zone("0.5,0,0.5,1"))
    insides = []
    for t in range(16):
        x = 60 + 10 * min(t, 15 - t)  # in and out again
        shown = tracker.add(t / 10, frame((x, 50, 0.9), (150, 150, 0.9)))
        count.add(shown, 200, 200)
        insides.append(count.inside)
    assert count.items == 2
    assert insides[2] == 1
    assert max(insides) == 2
    assert insides[-1] == 1


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "0.5,0,100,50", "5,5,5,5", "nan,0,1,1"])
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--line got"):
        parse_line(text)
