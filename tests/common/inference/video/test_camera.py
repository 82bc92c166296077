"""Cameras: the newest frame, and a connection that ends."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from fedshelf.common.errors import NetworkError
from fedshelf.common.inference.video.camera import camera_frames, newest
from fedshelf.common.inference.video.source import parse_source
from tests.helpers.rtsp_camera import Show, rtsp_camera
from tests.helpers.videos import picture


def test_frames_in_between_are_dropped_and_the_end_is_told() -> None:
    """Five items come while the first is worked on, so the next one is the fifth."""
    was_taken, are_there = threading.Event(), threading.Event()

    def items(_: threading.Event) -> Iterator[int]:
        yield 0
        was_taken.wait()
        yield from range(1, 6)
        are_there.set()
        raise NetworkError("gone")

    taken = newest(items)
    assert next(taken) == 0
    was_taken.set()
    are_there.wait()
    assert next(taken) == 5
    with pytest.raises(NetworkError, match="gone"):
        next(taken)


def test_a_camera_that_drops_is_reached_again() -> None:
    red, blue = (Show([picture(colour)] * 4) for colour in ("red", "blue"))
    told: list[str] = []
    with rtsp_camera([red, blue]) as url:
        source = parse_source(url)
        frames = camera_frames(source, 1, told.append, first_pause=0.01)
        red.may_begin.set()
        first = next(frames)
        assert np.asarray(first.image).mean(axis=(0, 1)).argmax() == 0
        blue.may_begin.set()
        seconds = [first.seconds]
        for frame in frames:
            seconds.append(frame.seconds)
            if np.asarray(frame.image).mean(axis=(0, 1)).argmax() == 2:
                break
        frames.close()  # type: ignore[attr-defined]
    assert seconds == sorted(seconds)
    assert told[:2] == [
        f"The camera {source.name} sends no more frames. It is tried again.",
        f"The camera {source.name} is back.",
    ]


def test_a_camera_that_never_answered_is_an_error() -> None:
    with rtsp_camera([]) as url:
        pass
    with pytest.raises(NetworkError, match=r"does not answer as RTSP .*check its address"):
        next(camera_frames(parse_source(url), 1, print))
