"""The report of `flower-client watch`: lines on the console, JSON lines, and a table of events."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import write_text
from fedshelf.common.wording import format_count

if TYPE_CHECKING:
    from fedshelf.common.inference.video.alarms import Alarm
    from fedshelf.common.inference.video.source import VideoSource
    from fedshelf.common.inference.video.timeline import Interval

OBSERVATION_COLUMNS = ("source", "time", "from", "to", "frames", "class", "verdict", "probability")


def video_time(seconds: float) -> str:
    """Return a time in a video: 3723.44 -> "1:02:03.4"."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 10:02}.{rest % 10}"


class WatchReport:
    """The intervals and alarms of a video, told as they come.

    Args:
        source: the video or camera
        class_names: for people
        as_json: print lines of JSON
        table: gets a row for each interval; None: there is no table
    """

    def __init__(
        self,
        source: "VideoSource",
        class_names: Sequence[str],
        table: "csv.DictWriter[str] | None",
        *,
        as_json: bool,
    ) -> None:
        self._source = source
        self._names = class_names
        self._table = table
        self._as_json = as_json
        self._events: Counter[str] = Counter()
        self._frames = 0
        self._alarms = 0
        self._start: datetime | None = None

    def begin(self, seconds: float) -> None:
        """Note the clock when the first frame, with this time, is there."""
        if self._start is None and self._source.is_camera:
            self._start = datetime.now().astimezone() - timedelta(seconds=seconds)

    def interval(self, interval: "Interval") -> None:
        """Tell an interval that is over."""
        name = self._names[interval.index]
        self._events[name if interval.verdict == "sure" else interval.verdict] += 1
        self._frames += interval.frames
        values = {
            "source": self._source.name,
            "time": self._clock(interval.first),
            "from": round(interval.first, 3),
            "to": round(interval.last, 3),
            "frames": interval.frames,
            "class": name,
            "verdict": interval.verdict,
            "probability": round(interval.probability, 4),
        }
        if self._table is not None:
            self._table.writerow(values)
        if self._as_json:
            self._print_json({"event": "seen", **values})
        else:
            guess = f"{name} {interval.probability:.1%}"
            seen = guess if interval.verdict == "sure" else f"{interval.verdict} ({guess})"
            typer.echo(
                f"{self._shown(interval.first)} to {self._shown(interval.last)}: {seen},"
                f" {format_count(interval.frames, 'frame')}"
            )

    def alarm(self, alarm: "Alarm") -> Mapping[str, Any]:
        """Tell an alarm, and return it as JSON values."""
        name = self._names[alarm.rule.index]
        self._alarms += 1
        values = {
            "event": "alarm",
            "source": self._source.name,
            "time": self._clock(alarm.seconds),
            "seconds": round(alarm.seconds, 3),
            "since": round(alarm.since, 3),
            "class": name,
            "probability": round(alarm.probability, 4),
        }
        if self._as_json:
            self._print_json(values)
        else:
            typer.echo(
                f"ALARM at {self._shown(alarm.seconds)}: {name} {alarm.probability:.1%}, there"
                f" since {self._shown(alarm.since)}"
            )
        return values

    def summary(self) -> str:
        """Return a sentence on all that was told; empty before the first frame."""
        if not self._frames:
            return ""
        seen = ", ".join(f"{name} {count}x" for name, count in self._events.most_common())
        return (
            f"{self._source.name}: {format_count(self._frames, 'frame')}"
            f"{f', seen: {seen}' if seen else ''}; {format_count(self._alarms, 'alarm')}."
        )

    def _clock(self, seconds: float) -> str | None:
        """Return the date and time of a camera's frame; None for a file."""
        if self._start is None:
            return None
        return (self._start + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")

    def _shown(self, seconds: float) -> str:
        if self._start is None:
            return video_time(seconds)
        return f"{self._start + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"

    def _print_json(self, values: Mapping[str, Any]) -> None:
        typer.echo(json.dumps(values, ensure_ascii=False))


@contextmanager
def event_table(path: Path | None, source: "VideoSource") -> "Iterator[csv.DictWriter[str] | None]":
    """Open the CSV file for events until the context ends.

    The table of a file is written in the end, also after Ctrl-C, if it has a row. That of a camera,
    which has no end, grows row by row, and goes on in the next watch.

    Args:
        path: None: no file
        source: the video or camera

    Raises:
        ConfigError: the file of a camera has something else
    """
    if path is None:
        yield None
    elif source.is_camera:
        with _appended(path) as file:
            writer = _writer(file)
            if file.tell() == 0:
                writer.writeheader()
            yield writer
    else:
        text = io.StringIO()
        writer = _writer(text)
        writer.writeheader()
        empty = text.getvalue()
        try:
            yield writer
        finally:
            if text.getvalue() != empty:
                write_text(path, text.getvalue())


def _appended(path: Path) -> TextIO:
    """Open a table at its end; each row is on the disk at once."""
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as old:
            first = old.readline()
        if first and first != ",".join(OBSERVATION_COLUMNS) + "\n":
            raise ConfigError(
                f"--csv got {path}, which is no table of watch; expected one, or a new file."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="utf-8", newline="", buffering=1)


def _writer(file: TextIO) -> "csv.DictWriter[str]":
    return csv.DictWriter(file, OBSERVATION_COLUMNS, lineterminator="\n")
