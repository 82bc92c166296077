"""`flower-client track`: the items of a video, each counted once."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedshelf.client.use.alarm_report import AlarmReport, alarm_senders
from fedshelf.client.use.arguments.model_arguments import Device, Familiar, Features, UnsureBelow
from fedshelf.client.use.arguments.scene_arguments import (
    Classifier,
    LocatorModel,
    Tiles,
    naming_model,
    open_namer,
    open_reader,
)
from fedshelf.client.use.arguments.video_arguments import (
    AlarmCommand,
    AlarmFrames,
    Alarms,
    Quiet,
    Source,
    Webhook,
    video_frames,
)
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list

if TYPE_CHECKING:
    from fedshelf.common.inference.scenes.item_alarms import AlarmWatch
    from fedshelf.common.inference.scenes.lines import LineCount, ZoneCount
    from fedshelf.common.inference.scenes.scene_reader import ReadScene, SceneReader
    from fedshelf.common.inference.scenes.tracking import Track
    from fedshelf.common.inference.video.frames import Frame
    from fedshelf.common.inference.video.observations import Observation

Lines = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X,Y,X,Y",
        help=(
            "Count the items that cross this line, seen from its first end to its second; in"
            " pixels, or fractions of the frame. Repeatable."
        ),
    ),
]
Zones = Annotated[
    list[str] | None,
    typer.Option(
        metavar="X,Y,W,H",
        help="Count the items in this part; pixels, or fractions of the frame. Repeatable.",
    ),
]


@dataclass
class TrackedItem:
    """One item of a video.

    Attributes:
        first: seconds of the first frame that showed it
        last: seconds of the last one
        names: the frames in which each name was sure
    """

    first: float
    last: float
    names: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str | None:
        """The name that most frames tell; None: none was sure."""
        return self.names.most_common(1)[0][0] if self.names else None


@dataclass
class VideoCount:
    """The items of a video so far, with the lines and zones at which they are counted."""

    lines: "dict[str, LineCount]"
    zones: "dict[str, ZoneCount]"
    items: dict[int, TrackedItem] = field(default_factory=dict)
    frames: int = 0

    def add(self, frame: "Frame", shown: "dict[int, Track]", named: "ReadScene") -> None:
        """Add a frame with its items, by the places of their boxes, and their boxes with names."""
        self.frames += 1
        for line in self.lines.values():
            line.add(shown, *frame.image.size)
        for zone in self.zones.values():
            zone.add(shown, *frame.image.size)
        for one, product in zip(shown.values(), named.products, strict=True):
            item = self.items.setdefault(one.number, TrackedItem(one.first, one.last))
            item.last = one.last
            if product.verdict == "sure" and product.name is not None:
                item.names[product.name] += 1

    def to_json(self, source: str) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "event": "count",
            "source": source,
            "frames": self.frames,
            "items": [
                {"item": number, "from": round(item.first, 3), "to": round(item.last, 3)}
                | {"class": item.name}
                for number, item in sorted(self.items.items())
            ],
            "lines": [
                {"line": text, "to_right": count.to_right, "to_left": count.to_left}
                for text, count in self.lines.items()
            ],
            "zones": [
                {"zone": text, "items": count.items, "inside": count.inside}
                for text, count in self.zones.items()
            ],
        }

    def sentences(self, source: str, *, has_names: bool) -> list[str]:
        """Return it in words."""
        names = Counter(item.name or "without a sure name" for item in self.items.values())
        told = [f"{name} {count}" for name, count in names.most_common()] if has_names else []
        of = f" ({format_list(told)})" if told else ""
        frames = format_count(self.frames, "frame")
        lines = [f"{source}: {format_count(len(self.items), 'item')}{of} in {frames}"]
        for text, count in self.lines.items():
            lines.append(f"line {text}: {count.to_right} to the right, {count.to_left} to the left")
        for text, zone in self.zones.items():
            items = format_count(zone.items, "item")
            lines.append(f"zone {text}: {items}, {zone.inside} at the end")
        return [printable(line) for line in lines]


def track(
    model: LocatorModel,
    source: Source,
    classifier: Classifier = None,
    line: Lines = None,
    zone: Zones = None,
    every: Annotated[
        float, typer.Option(min=0, help="Seconds between the frames that are looked at; 0: all.")
    ] = 0.1,
    alarm: Alarms = None,
    frames: AlarmFrames = 3,
    quiet: Quiet = 30.0,
    webhook: Webhook = None,
    command: AlarmCommand = None,
    tiles: Tiles = 1,
    index: Familiar = None,
    features: Features = None,
    unsure_below: UnsureBelow = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print lines of JSON: the alarms, and in the end all items."),
    ] = False,
    device: Device = "auto",
) -> None:
    """Count the items of a video or camera, each once, until its end or Ctrl-C.

    What three frames show is an item; out of sight, it is waited for two seconds. An alarm is given
    once for each item; with --zone, for items in a zone.
    """
    from fedshelf.common.inference.scenes.item_alarms import watches_of
    from fedshelf.common.inference.scenes.lines import LineCount, ZoneCount, parse_line
    from fedshelf.common.inference.video.alarms import parse_alarm
    from fedshelf.common.inference.video.source import parse_source
    from fedshelf.common.inference.video.zone import parse_zone

    video = parse_source(source)
    areas = {text: parse_zone(text) for text in zone or ()}
    count = VideoCount(
        {text: LineCount(parse_line(text)) for text in line or ()},
        {text: ZoneCount(area) for text, area in areas.items()},
    )
    with alarm_senders(alarm, webhook, command) as senders:
        namer = open_namer(classifier, index, features, device)
        reader = open_reader(model, namer, None, tiles, unsure_below, device)
        classes = naming_model(reader, "--alarm").classes if alarm else ()
        names = reader.class_names
        rules = [parse_alarm(text, frames, quiet, classes, names) for text in alarm or ()]
        report = AlarmReport(video, names, senders, as_json=as_json)
        try:
            _follow(reader, video_frames(video, every), count, watches_of(rules, areas), report)
        finally:  # also of a video that is cut, and after Ctrl-C
            _tell(count, video.name, has_names=bool(names), as_json=as_json)


def _tell(count: VideoCount, source: str, *, has_names: bool, as_json: bool) -> None:
    """Print a count, if there was a frame."""
    if as_json and count.frames:
        typer.echo(json.dumps(count.to_json(source), ensure_ascii=False))
    elif count.frames:
        typer.echo("\n".join(count.sentences(source, has_names=has_names)))


def _follow(
    reader: "SceneReader",
    frames: "Iterator[Frame]",
    count: VideoCount,
    watches: "list[AlarmWatch]",
    report: AlarmReport,
) -> None:
    """Add frames to a count, and tell alarms.

    Raises the exceptions of `frames`, after all that could be read.
    """
    import numpy as np

    from fedshelf.common.inference.scenes.locating import locate_scene
    from fedshelf.common.inference.scenes.tracking import LEAST_SCORE, Tracker

    tracker = Tracker()
    for frame in frames:
        report.begin(frame.seconds)
        boxes = locate_scene(reader.locator, frame.image, reader.tiles, LEAST_SCORE)
        shown = tracker.add(frame.seconds, boxes)
        named = reader.named(frame.image, boxes.select(np.array([*shown], np.int64)))
        count.add(frame, shown, named)
        seen = _observations(frame.seconds, shown, named)
        for watch in watches:
            for given, place in watch.add(shown, seen, frame.image.size):
                report.alarm(given, place)


def _observations(
    seconds: float, shown: "dict[int, Track]", named: "ReadScene"
) -> "dict[int, Observation]":
    """Return the names of the items of a frame by their numbers."""
    from fedshelf.common.inference.video.observations import Observation

    naming = named.naming
    if naming is None:
        return {}
    return {
        track.number: Observation(seconds, naming.probabilities[row], naming.verdicts[row])
        for row, track in enumerate(shown.values())
    }
