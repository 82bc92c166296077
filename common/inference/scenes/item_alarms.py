"""Alarms for the items of a video, each told once, in the whole frame or in zones."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedshelf.common.inference.scenes.tracking import Track
from fedshelf.common.inference.video.alarms import Alarm, AlarmRule, ItemAlarms
from fedshelf.common.inference.video.observations import Observation
from fedshelf.common.inference.video.zone import Zone


@dataclass(frozen=True)
class AlarmWatch:
    """The view of one alarm on one zone.

    Attributes:
        alarms: of the items
        zone: as it was given; None: the alarm is for the whole frame
        area: the zone; None: there is none
    """

    alarms: ItemAlarms
    zone: str | None = None
    area: Zone | None = None

    def add(
        self, shown: Mapping[int, Track], seen: Mapping[int, Observation], size: tuple[int, int]
    ) -> Iterator[tuple[Alarm, dict[str, Any]]]:
        """Add a frame, and yield the alarms that it completes, with the item and the zone of each.

        Args:
            shown: the items in it, by the places of their boxes
            seen: the classifier's answers for them, by their numbers
            size: width and height of the frame in pixels
        """
        inside = {
            track.number: seen[track.number]
            for track in shown.values()
            if self.area is None or self.area.contains(track.centre, *size)
        }
        place = {} if self.zone is None else {"zone": self.zone}
        for number, given in self.alarms.add(inside):
            yield given, {"item": number, **place}


def watches_of(rules: Iterable[AlarmRule], areas: Mapping[str, Zone]) -> list[AlarmWatch]:
    """Return the views of alarms on zones: each on each, or on the whole frame without a zone."""
    if not areas:
        return [AlarmWatch(ItemAlarms(rule)) for rule in rules]
    return [
        AlarmWatch(ItemAlarms(rule), text, area) for rule in rules for text, area in areas.items()
    ]
