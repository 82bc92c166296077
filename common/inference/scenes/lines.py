"""Lines and zones in a video's picture, at which items are counted, each once."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedshelf.common.errors import ConfigError
from fedshelf.common.inference.scenes.tracking import Track
from fedshelf.common.inference.video.zone import Zone

_BEYOND = 0.1  # of an item's smaller side: nearer to a line, it lies on both sides


@dataclass(frozen=True)
class CountingLine:
    """A line from one point to another.

    Attributes:
        start: x and y, in fractions of the frame if `is_relative`, else in pixels
        end: the same
        is_relative: see there
    """

    start: tuple[float, float]
    end: tuple[float, float]
    is_relative: bool

    def in_pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return x and y of both ends in pixels of a frame.

        Raises:
            ConfigError: an end lies outside of the frame.
        """
        across, down = (width, height) if self.is_relative else (1, 1)
        (x1, y1), (x2, y2) = self.start, self.end
        ends = (x1 * across, y1 * down, x2 * across, y2 * down)
        if max(ends[0], ends[2]) > width or max(ends[1], ends[3]) > height:
            raise ConfigError(
                f"--line reaches to {max(ends[0], ends[2]):g},{max(ends[1], ends[3]):g}; the frames"
                f" have {width} x {height} pixels."
            )
        return ends


def parse_line(text: str) -> CountingLine:
    """Return the line that a person gave: x1,y1,x2,y2.

    Numbers that are all at most 1 are fractions of the frame; else all must be whole pixels.

    Raises:
        ConfigError: it is neither, or the ends are one point.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    is_relative = max(numbers, default=2) <= 1
    is_plain = len(numbers) == 4 and all(0 <= number < 1e6 for number in numbers)  # also no nan
    if is_plain and (is_relative or all(number.is_integer() for number in numbers)):
        start, end = (numbers[0], numbers[1]), (numbers[2], numbers[3])
        if start != end:
            return CountingLine(start, end, is_relative)
    raise ConfigError(
        f"--line got {text!r}; expected x1,y1,x2,y2 of its two ends, all in pixels (320,0,320,480)"
        " or all in fractions of the frame (0.5,0,0.5,1)."
    )


@dataclass
class LineCount:
    """The items that crossed a line.

    An item that goes to and fro counts in each direction once. For somebody who stands at the
    line's start and looks to its end, `to_right` are those that went from left to right.
    """

    line: CountingLine
    to_right: int = 0
    to_left: int = 0

    def __post_init__(self) -> None:
        self._last: dict[int, tuple[float, tuple[float, float]]] = {}
        self._counted: set[tuple[int, bool]] = set()

    def add(self, shown: Mapping[int, Track], width: int, height: int) -> None:
        """Add a frame.

        Args:
            shown: the items in it, by the places of their boxes
            width: of the frame in pixels
            height: of the frame in pixels

        Raises:
            ConfigError: the line does not lie in the frame.
        """
        x1, y1, x2, y2 = self.line.in_pixels(width, height)
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
        for track in shown.values():
            x, y = track.centre
            # distance to the right of the line, as y points down
            beyond = ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / length
            left, top, right, bottom = track.corners.tolist()
            if abs(beyond) <= _BEYOND * min(right - left, bottom - top):
                continue
            before = self._last.get(track.number)
            self._last[track.number] = beyond, (x, y)
            if before is None or (before[0] > 0) == (beyond > 0):
                continue
            if not _passes(before, (beyond, (x, y)), (x1, y1), (x2, y2)):
                continue
            if (key := (track.number, beyond > 0)) not in self._counted:
                self._counted.add(key)
                self.to_right += beyond > 0
                self.to_left += beyond < 0


def _passes(
    before: tuple[float, tuple[float, float]],
    now: tuple[float, tuple[float, float]],
    start: tuple[float, float],
    end: tuple[float, float],
) -> bool:
    """Return whether the way between two points on either side passes between a line's ends."""
    share = before[0] / (before[0] - now[0])
    x, y = (old + share * (new - old) for old, new in zip(before[1], now[1], strict=True))
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * along_x + (y - start[1]) * along_y) / (along_x**2 + along_y**2)
    return 0 <= along <= 1


@dataclass
class ZoneCount:
    """The items that were in a zone, each once, and those that are in it now."""

    zone: Zone
    inside: int = 0

    def __post_init__(self) -> None:
        self._seen: set[int] = set()

    @property
    def items(self) -> int:
        """The number of items that were in the zone."""
        return len(self._seen)

    def add(self, shown: Mapping[int, Track], width: int, height: int) -> None:
        """Add a frame; see `LineCount.add`. Raises ConfigError: the zone does not lie in it."""
        self.zone.in_pixels(width, height)
        numbers = {
            track.number
            for track in shown.values()
            if self.zone.contains(track.centre, width, height)
        }
        self.inside = len(numbers)
        self._seen |= numbers
