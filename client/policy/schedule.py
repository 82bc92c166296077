"""Hours in which a store may train, by the store's own clock: "22:00-06:00", "sat,sun
00:00-24:00".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXPECTED_FORM = (
    'expected "22:00-06:00", with days in front if need be: "sat,sun 00:00-24:00", "mon-fri'
    ' 22:00-06:00"'
)
_DAY_MINUTES = 24 * 60  # minutes
_WINDOW = re.compile(r"(?:(?P<days>[a-z,-]+) +)?(?P<begin>\d\d:\d\d) ?- ?(?P<end>\d\d:\d\d)")


@dataclass(frozen=True)
class Window:
    """A range of hours on some days of the week.

    Attributes:
        days: 0 is Monday; hours over midnight belong to the day on which they begin.
        begin, end: Minutes since midnight; an end not after the begin is that of the next day.
    """

    days: frozenset[int]
    begin: int
    end: int

    def contains(self, moment: datetime) -> bool:
        """Return whether `moment` (local time) is within the window."""
        day = moment.weekday()
        minute = moment.hour * 60 + moment.minute
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        return (day in self.days and minute >= self.begin) or (
            (day - 1) % 7 in self.days and minute < self.end
        )

    def next_opening(self, moment: datetime) -> datetime:
        """Return the next begin of the window after `moment`, in local time."""
        midnights = (
            datetime.combine(moment.date(), time()) + timedelta(days=ahead) for ahead in range(8)
        )
        begins = (
            day + timedelta(minutes=self.begin) for day in midnights if day.weekday() in self.days
        )
        return next(begin for begin in begins if begin > moment)


def parse_window(text: str) -> Window:
    """Parse the window that `text` describes. Raises ValueError saying what was expected."""
    if not (match := _WINDOW.fullmatch(text.strip().lower())):
        raise ValueError(EXPECTED_FORM)
    begin = _minutes(match["begin"])
    end = _minutes(match["end"])
    if begin in {end, _DAY_MINUTES}:
        raise ValueError(
            "hours that begin and end at different times (a whole day is 00:00-24:00);"
            f" {EXPECTED_FORM}"
        )
    return Window(_days(match["days"]), begin, end)


def seconds_until(windows: Sequence[Window], now: float) -> float:
    """Return the seconds from `now` (Unix time) until the first of `windows` begins: 0 within one,
    or without any.
    """
    moment = datetime.fromtimestamp(now)
    if not windows or any(window.contains(moment) for window in windows):
        return 0.0
    return min(window.next_opening(moment).timestamp() for window in windows) - now


def seconds_until_midnight(now: float) -> float:
    """Return the seconds from `now` (Unix time) until the local day ends; 23 to 25 hours where
    clocks change.
    """
    tomorrow = datetime.combine(datetime.fromtimestamp(now).date() + timedelta(days=1), time())
    return tomorrow.timestamp() - now


def _minutes(text: str) -> int:
    hours = int(text[:2])
    minutes = int(text[3:])
    if minutes > 59 or hours * 60 + minutes > _DAY_MINUTES:
        raise ValueError(f"times from 00:00 to 24:00; {EXPECTED_FORM}")
    return hours * 60 + minutes


def _days(text: str | None) -> frozenset[int]:
    """Parse "mon,wed" or "fri-mon" to day numbers; all days without text."""
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or not set(ends) <= set(DAYS):
            raise ValueError(f"days from {', '.join(DAYS)}; {EXPECTED_FORM}")
        begin = DAYS.index(ends[0])
        end = DAYS.index(ends[-1])
        days |= {day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)}
    return frozenset(days)
