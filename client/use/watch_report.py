"""The report of `flower-client watch`: lines on the console, JSON lines, and a table of events."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from fedshelf.client.use.alarm_report import AlarmReport
from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import write_text
from fedshelf.common.wording import format_count

if TYPE_CHECKING:
    from fedshelf.client.notifications.background import BackgroundSender
    from fedshelf.common.inference.video.alarms import Alarm
    from fedshelf.common.inference.video.source import VideoSource
    from fedshelf.common.inference.video.timeline import Interval

OBSERVATION_COLUMNS = ("source", "time", "from", "to", "frames", "class", "verdict", "probability")


class WatchReport(AlarmReport):
    """The intervals and alarms of a video, told as they come.

    Args:
        source: the video or camera
        class_names: for people
        senders: get each alarm, too
        table: gets a row for each interval; None: there is no table
        as_json: print lines of JSON
    """

    def __init__(
        self,
        source: "VideoSource",
        class_names: Sequence[str],
        senders: "Sequence[BackgroundSender]",
        table: "csv.DictWriter[str] | None",
        *,
        as_json: bool,
    ) -> None:
        super().__init__(source, class_names, senders, as_json=as_json)
        self._table = table
        self._events: Counter[str] = Counter()
        self._frames = 0
        self._alarms = 0

    def interval(self, interval: "Interval") -> None:
        """Tell an interval that is over."""
        name = self._names[interval.index]
        self._events[name if interval.verdict == "sure" else interval.verdict] += 1
        self._frames += interval.frames
        values = {
            "source": self._source.name,
            "time": self.clock(interval.first),
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
            typer.echo(json.dumps({"event": "seen", **values}, ensure_ascii=False))
        else:
            guess = f"{name} {interval.probability:.1%}"
            seen = guess if interval.verdict == "sure" else f"{interval.verdict} ({guess})"
            typer.echo(
                f"{self.shown(interval.first)} to {self.shown(interval.last)}: {seen},"
                f" {format_count(interval.frames, 'frame')}"
            )

    def alarm(self, alarm: "Alarm", place: Mapping[str, Any] | None = None) -> None:
        """Tell an alarm; see `AlarmReport.alarm`."""
        self._alarms += 1
        super().alarm(alarm, place)

    def summary(self) -> str:
        """Return a sentence on all that was told; empty before the first frame."""
        if not self._frames:
            return ""
        seen = ", ".join(f"{name} {count}x" for name, count in self._events.most_common())
        return (
            f"{self._source.name}: {format_count(self._frames, 'frame')}"
            f"{f', seen: {seen}' if seen else ''}; {format_count(self._alarms, 'alarm')}."
        )


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
