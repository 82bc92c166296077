"""Tracks: the same item's boxes in one frame of a video after another.

The association is that of ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating
Every Detection Box", ECCV 2022): first the sure boxes find their tracks, then tracks without one
may go on by an unsure box, as items half hidden have; only sure boxes begin tracks. Pairs are taken
in the order of their overlap. An item is expected where its speed of late takes it (an alpha-beta
filter in place of the paper's Kalman filter, whose gains become constant, too).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.scenes.boxes import Boxes, overlaps

SURE_SCORE = 0.5
"""Score from which on a box begins a track, or finds its track first."""

LEAST_SCORE = 0.1
"""Score below which a box is passed over."""

FRAMES_OF_AN_ITEM = 3
"""Frames in which something must be seen before it counts as an item."""

KEEP_SECONDS = 2.0
"""Time for which an item that is out of sight is waited for."""

_LEAST_OVERLAP = 0.2  # of a sure box with the expected place of its track, as in the paper
_LEAST_OVERLAP_UNSURE = 0.5  # of an unsure box
_PLACE_GAIN = 0.7  # share of the surprise by which the place is corrected
_SPEED_GAIN = 0.3  # the same of the speed; both together follow a turn within a few frames


@dataclass(eq=False)
class Track:
    """One item.

    Attributes:
        number: of the item, from 1 in the order in which tracks become items; 0: it is none yet
        corners: float32 [4], its box in pixels of the last frame that showed it
        speed: float32 [4], of the corners, in pixels a second
        first: seconds of its first frame
        last: seconds of the last frame that showed it
        frames: that showed it
        score: the highest of its boxes
    """

    corners: NDArray[np.float32]
    first: float
    last: float
    score: float
    number: int = 0
    speed: NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))
    frames: int = 1

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of its box in pixels."""
        left, top, right, bottom = self.corners.tolist()
        return (left + right) / 2, (top + bottom) / 2

    def expected(self, seconds: float) -> NDArray[np.float32]:
        """Return where its corners will be at a time, float32 [4]."""
        return self.corners + self.speed * np.float32(seconds - self.last)

    def follow(self, seconds: float, corners: NDArray[np.float32], score: float) -> None:
        """Go on with the box of a later frame."""
        passed = np.float32(max(seconds - self.last, 1e-6))
        expected = self.expected(seconds)
        surprise = corners - expected
        if self.frames == 1:  # two boxes tell a speed: there is none yet to correct
            self.corners = corners
            self.speed = surprise / passed
        else:
            self.corners = expected + _PLACE_GAIN * surprise
            self.speed = self.speed + _SPEED_GAIN * surprise / passed
        self.last = seconds
        self.frames += 1
        self.score = max(self.score, score)


class Tracker:
    """The items of a video, frame by frame."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._items = 0
        self._previous = 0.0  # seconds of the frame before

    @property
    def items(self) -> int:
        """The number of items so far."""
        return self._items

    def add(self, seconds: float, boxes: Boxes) -> dict[int, Track]:
        """Add the next frame, and return the items that it shows, by the places of their boxes.

        Args:
            seconds: of the frame, never earlier than those before
            boxes: found in it
        """
        sure = np.flatnonzero(boxes.scores >= SURE_SCORE)
        unsure = np.flatnonzero((boxes.scores >= LEAST_SCORE) & (boxes.scores < SURE_SCORE))
        waiting = [track for track in self._tracks if seconds - track.last <= KEEP_SECONDS]
        shown = _follow(seconds, boxes, sure, waiting, _LEAST_OVERLAP)
        waiting = [track for track in waiting if track not in shown.values()]
        in_sight = [track for track in waiting if track.last == self._previous]
        shown |= _follow(seconds, boxes, unsure, in_sight, _LEAST_OVERLAP_UNSURE)
        hidden = [track for track in waiting if track not in shown.values() and track.number]
        for place in sure.tolist():
            if place not in shown:
                corners, score = boxes.corners[place], float(boxes.scores[place])
                shown[place] = Track(corners, seconds, seconds, score)
        self._tracks = [*shown.values(), *hidden]
        self._previous = seconds
        return dict(self._numbered(shown))

    def _numbered(self, shown: dict[int, Track]) -> Iterator[tuple[int, Track]]:
        """Yield those that are items; a track that has been seen often enough becomes one."""
        for place, track in sorted(shown.items()):
            if not track.number and track.frames >= FRAMES_OF_AN_ITEM:
                self._items += 1
                track.number = self._items
            if track.number:
                yield place, track


def _follow(
    seconds: float,
    boxes: Boxes,
    places: NDArray[np.intp],
    tracks: list[Track],
    least: float,
) -> dict[int, Track]:
    """Let tracks go on by boxes, those that overlap most first; return the tracks by the boxes.

    Args:
        seconds: of the frame
        boxes: found in it
        places: those of the boxes that may be taken
        tracks: that may go on
        least: overlap of a box with the expected place of its track
    """
    followed: dict[int, Track] = {}
    if not len(places) or not tracks:
        return followed
    expected = Boxes.drawn(np.stack([track.expected(seconds) for track in tracks]))
    shared = overlaps(boxes.select(places.astype(np.int64)), expected)
    while shared.max() >= least:
        row, column = np.unravel_index(int(shared.argmax()), shared.shape)
        place = int(places[row])
        tracks[column].follow(seconds, boxes.corners[place], float(boxes.scores[place]))
        followed[place] = tracks[column]
        shared[row, :] = -1
        shared[:, column] = -1
    return followed
