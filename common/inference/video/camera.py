"""Frames of a camera: always the newest, and again after it was away."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from fedshelf.common.errors import DataError, NetworkError
from fedshelf.common.inference.video.frames import Frame, sampled_frames
from fedshelf.common.inference.video.source import VideoSource

Item = TypeVar("Item")

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


def camera_frames(
    source: VideoSource,
    every: float,
    told: Callable[[str], object],
    first_pause: float = FIRST_PAUSE_SECONDS,
) -> Iterator[Frame]:
    """Yield the newest frame of a camera, at most one in `every` seconds, for ever.

    Frames that come while the last one is worked on are dropped but for the newest. Seconds count
    from the first frame and go on while the camera is away.

    Args:
        source: the camera
        every: seconds
        told: gets a sentence each time when the camera is lost or found again
        first_pause: seconds before a camera that was lost is tried again; each further pause is
            twice as long, up to a minute

    Raises:
        ConfigError: the extra `video` is not installed
        DataError: the source is no camera
        NetworkError: the camera never answered
    """
    return newest(lambda stopping: _reconnected(source, every, told, first_pause, stopping))


def newest(items: Callable[[threading.Event], Iterator[Item]]) -> Iterator[Item]:
    """Yield the newest item each time when one is asked for, and drop those in between.

    Another thread takes the items as they come. It never delays the end of the process.

    Args:
        items: returns the items; called in the other thread with an event that is set once nobody
            wants more of them

    Raises:
        Exception: that of `items`
    """
    slot = _Slot[Item]()
    stopping = threading.Event()

    def take() -> None:
        try:
            for item in items(stopping):
                if stopping.is_set():
                    break
                slot.put(item)
        except BaseException as error:  # raised where the items are used
            slot.end(error)
        else:
            slot.end(None)

    threading.Thread(target=take, name="camera", daemon=True).start()
    try:
        yield from iter(slot.get, None)
    finally:
        stopping.set()


class _Slot(Generic[Item]):
    """Room for one item: a new one replaces one that was not taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._is_over = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        with self._changed:
            self._item = item
            self._changed.notify()

    def end(self, error: BaseException | None) -> None:
        with self._changed:
            self._is_over = True
            self._error = error
            self._changed.notify()

    def get(self) -> Item | None:
        """Wait for an item and return it; None: there are no more. Raises the error of the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._is_over)
            item, self._item = self._item, None
            if item is None and self._error is not None:
                raise self._error
            return item


def _reconnected(
    source: VideoSource,
    every: float,
    told: Callable[[str], object],
    first_pause: float,
    stopping: threading.Event,
) -> Iterator[Frame]:
    """Yield all sampled frames of one connection after the other, until `stopping` is set."""
    began: float | None = None
    reached = 0.0
    pause = first_pause
    is_away = False
    while True:
        offset = 0.0
        is_new = True
        try:
            for frame in sampled_frames(source, every):
                now = time.monotonic()
                if began is None:
                    began = now
                if is_new:
                    # a camera's clock may be ahead of ours: time never goes back
                    offset = max(now - began, reached) - frame.seconds
                    is_new = False
                if is_away:
                    told(f"The camera {source.name} is back.")
                    is_away = False
                    pause = first_pause
                reached = offset + frame.seconds
                yield replace(frame, seconds=reached)
        except (NetworkError, DataError) as error:
            if began is None:
                raise
            if not is_away:
                told(f"{error} It is tried again.")
                is_away = True
        if stopping.wait(pause):
            return
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
