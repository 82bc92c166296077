"""`flower-client track`: the items of a video, each counted once."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedshelf.client.use.arguments.model_arguments import Device, UnsureBelow, open_model
from fedshelf.client.use.arguments.scene_arguments import (
    Classifier,
    LocatorModel,
    Tiles,
    open_reader,
)
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list

if TYPE_CHECKING:
    from fedshelf.common.inference.scenes.lines import LineCount, ZoneCount
    from fedshelf.common.inference.scenes.scene_reader import ReadScene, SceneReader
    from fedshelf.common.inference.scenes.tracking import Track
    from fedshelf.common.inference.video.frames import Frame
    from fedshelf.common.inference.video.source import VideoSource


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
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A video file, a camera rtsp://HOST/PATH, or a device."
        ),
    ],
    classifier: Classifier = None,
    line: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,X,Y",
            help=(
                "Count the items that cross this line, seen from its first end to its second; in"
                " pixels, or fractions of the frame. Repeatable."
            ),
        ),
    ] = None,
    zone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="Count the items in this part; pixels, or fractions of the frame. Repeatable.",
        ),
    ] = None,
    every: Annotated[
        float, typer.Option(min=0, help="Seconds between the frames that are looked at; 0: all.")
    ] = 0.1,
    tiles: Tiles = 1,
    unsure_below: UnsureBelow = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with all items.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Count the items of a video or camera, each once, until its end or Ctrl-C.

    What three frames show is an item; out of sight, it is waited for two seconds.
    """
    from fedshelf.common.inference.scenes.lines import LineCount, ZoneCount, parse_line
    from fedshelf.common.inference.video.source import parse_source
    from fedshelf.common.inference.video.zone import parse_zone

    video = parse_source(source)
    lines = {text: LineCount(parse_line(text)) for text in line or ()}
    zones = {text: ZoneCount(parse_zone(text)) for text in zone or ()}
    namer = None if classifier is None else open_model(classifier, device=device)
    reader = open_reader(model, namer, None, tiles, unsure_below, device)
    count = VideoCount(lines, zones)
    try:
        _follow(reader, _frames(video, every), count)
    finally:  # also of a video that is cut, and after Ctrl-C
        if as_json and count.frames:
            typer.echo(json.dumps(count.to_json(video.name), ensure_ascii=False))
        elif count.frames:
            typer.echo("\n".join(count.sentences(video.name, has_names=namer is not None)))


def _follow(reader: "SceneReader", frames: "Iterator[Frame]", count: VideoCount) -> None:
    """Add frames to a count. Raises the exceptions of `frames`, after all that could be read."""
    import numpy as np

    from fedshelf.common.inference.scenes.locating import locate_scene
    from fedshelf.common.inference.scenes.tracking import LEAST_SCORE, Tracker

    tracker = Tracker()
    for frame in frames:
        boxes = locate_scene(reader.locator, frame.image, reader.tiles, LEAST_SCORE)
        shown = tracker.add(frame.seconds, boxes)
        seen = boxes.select(np.array([*shown], np.int64))
        count.add(frame, shown, reader.named(frame.image, seen))


def _frames(source: "VideoSource", every: float) -> "Iterator[Frame]":
    from fedshelf.common.inference.video.camera import camera_frames
    from fedshelf.common.inference.video.frames import sampled_frames

    if source.is_camera:
        return camera_frames(source, every, lambda sentence: typer.echo(sentence, err=True))
    return sampled_frames(source, every)
