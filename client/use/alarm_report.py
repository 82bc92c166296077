"""The alarms of a video: lines on the console or lines of JSON, and their receivers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from fedshelf.common.errors import ConfigError
from fedshelf.common.text import printable

if TYPE_CHECKING:
    from fedshelf.client.notifications.background import BackgroundSender
    from fedshelf.common.inference.video.alarms import Alarm
    from fedshelf.common.inference.video.source import VideoSource

_CLOSING_SECONDS = 60.0  # time for alarms that are not sent yet when the video is over


def video_time(seconds: float) -> str:
    """Return a time in a video: 3723.44 -> "1:02:03.4"."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 10:02}.{rest % 10}"


class AlarmReport:
    """The alarms of a video, told as they come.

    Args:
        source: the video or camera
        class_names: for people
        senders: get each alarm, too
        as_json: print lines of JSON
    """

    def __init__(
        self,
        source: "VideoSource",
        class_names: Sequence[str],
        senders: "Sequence[BackgroundSender]" = (),
        *,
        as_json: bool,
    ) -> None:
        self._source = source
        self._names = class_names
        self._senders = senders
        self._as_json = as_json
        self._start: datetime | None = None

    def begin(self, seconds: float) -> None:
        """Note the clock when the first frame, with this time, is there."""
        if self._start is None and self._source.is_camera:
            self._start = datetime.now().astimezone() - timedelta(seconds=seconds)

    def alarm(self, alarm: "Alarm", place: Mapping[str, Any] | None = None) -> None:
        """Tell an alarm.

        Args:
            alarm: that was given
            place: further values, such as the number of an item
        """
        name = self._names[alarm.rule.index]
        place = place or {}
        values = {
            "event": "alarm",
            "source": self._source.name,
            "time": self.clock(alarm.seconds),
            "seconds": round(alarm.seconds, 3),
            "since": round(alarm.since, 3),
            "class": name,
            "probability": round(alarm.probability, 4),
            **place,
        }
        if self._as_json:
            typer.echo(json.dumps(values, ensure_ascii=False))
        else:
            told = ", ".join(f"{key} {value}" for key, value in place.items())
            typer.echo(
                printable(
                    f"ALARM at {self.shown(alarm.seconds)}: {name} {alarm.probability:.1%}, there"
                    f" since {self.shown(alarm.since)}{f' ({told})' if told else ''}"
                )
            )
        for sender in self._senders:
            sender.put(values)

    def clock(self, seconds: float) -> str | None:
        """Return the date and time of a camera's frame; None for a file."""
        if self._start is None:
            return None
        return (self._start + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")

    def shown(self, seconds: float) -> str:
        """Return the time of a frame for people."""
        if self._start is None:
            return video_time(seconds)
        return f"{self._start + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}"


@contextmanager
def alarm_senders(
    alarms: Sequence[str] | None, webhook_url: str | None, command: str | None
) -> "Iterator[list[BackgroundSender]]":
    """Yield the receivers of alarms; in the end, wait until they have all.

    Args:
        alarms: those that are asked for
        webhook_url: the address of --webhook; None: there is none
        command: the program of --command with its arguments; None: there is none

    Raises:
        ConfigError: there are receivers without alarms, or a receiver cannot be used.
    """
    from fedshelf.client.notifications.background import BackgroundSender
    from fedshelf.client.notifications.program import parse_command, program
    from fedshelf.client.notifications.webhook import check_webhook, webhook

    if (webhook_url or command) and not alarms:
        raise ConfigError("--webhook and --command tell alarms: give --alarm CLASS:SCORE, too.")
    receivers = []
    if webhook_url is not None:
        check_webhook(webhook_url)
        receivers.append(webhook(webhook_url))
    if command is not None:
        receivers.append(program(parse_command(command)))
    with ExitStack() as closing:
        yield [
            closing.enter_context(BackgroundSender(receiver, _warn, _CLOSING_SECONDS))
            for receiver in receivers
        ]


def _warn(sentence: str) -> None:
    typer.echo(sentence, err=True)
