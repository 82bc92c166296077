"""`flower-client watch`: the products in a video or before a camera, and alarms."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import Combine, Device, Model, open_model
from fedshelf.client.use.watch_report import WatchReport, event_table
from fedshelf.common.errors import ConfigError

if TYPE_CHECKING:
    from fedshelf.client.notifications.background import BackgroundSender
    from fedshelf.common.inference.video.alarms import AlarmRule
    from fedshelf.common.inference.video.frames import Frame
    from fedshelf.common.inference.video.observations import Observation
    from fedshelf.common.inference.video.source import VideoSource

_CLOSING_SECONDS = 60.0  # time for alarms that are not sent yet when the video is over

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A video file, the address of a camera rtsp://HOST/PATH, or a device (/dev/video0).",
    ),
]
Every = Annotated[float, typer.Option(min=0, help="Seconds between the frames that are looked at.")]
Alarms = Annotated[
    list[str] | None,
    typer.Option(
        "--alarm",
        metavar="CLASS:SCORE",
        help="Give an alarm when a class has this probability (0.8 by default); repeatable.",
    ),
]


def watch(
    model: Model,
    source: Source,
    every: Every = 1.0,
    alarm: Alarms = None,
    frames: Annotated[
        int, typer.Option(min=1, help="Frames in a row that begin an alarm's event, or end it.")
    ] = 3,
    quiet: Annotated[
        float, typer.Option(min=0, help="Seconds after an alarm before the same one comes again.")
    ] = 30.0,
    zone: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H", help="Look at this part alone; in pixels, or fractions of the frame."
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Post each alarm as JSON to this address.")
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(help="Run this program for each alarm, with JSON on its standard input."),
    ] = None,
    unsure_below: Annotated[
        float, typer.Option(min=0, max=1, help="Probability below which a frame is unsure.")
    ] = 0.6,
    as_json: Annotated[bool, typer.Option("--json", help="Print lines of JSON.")] = False,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Write time and class of each event to this CSV file."),
    ] = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Tell when a video or a camera shows which product, until its end or Ctrl-C.

    An alarm is given once per event. A camera that is lost is tried again.
    """
    from fedshelf.common.inference.video.alarms import parse_alarm
    from fedshelf.common.inference.video.observations import FILE_BATCH, observe
    from fedshelf.common.inference.video.source import parse_source
    from fedshelf.common.inference.video.zone import parse_zone

    video = parse_source(source)
    area = None if zone is None else parse_zone(zone)
    if (webhook or command) and not alarm:
        raise ConfigError("--webhook and --command tell alarms: give --alarm CLASS:SCORE, too.")
    with ExitStack() as closing:
        senders = [closing.enter_context(sender) for sender in _senders(webhook, command)]
        table = closing.enter_context(event_table(csv_file, video))
        predictor = open_model(model, combine, device)
        described = predictor.description
        rules = [
            parse_alarm(text, frames, quiet, described.classes, described.class_names)
            for text in alarm or ()
        ]
        batch = 1 if video.is_camera else FILE_BATCH
        seen = observe(predictor, _frames(video, every), area, unsure_below, batch)
        report = WatchReport(video, described.class_names, table, as_json=as_json)
        _tell(seen, rules, report, senders)


def _tell(
    seen: "Iterable[Observation]",
    rules: "Iterable[AlarmRule]",
    report: WatchReport,
    senders: "Iterable[BackgroundSender]",
) -> None:
    """Tell intervals and alarms while frames come; also of a video that ends early."""
    from fedshelf.common.inference.video.alarms import AlarmState
    from fedshelf.common.inference.video.timeline import Timeline

    timeline = Timeline()
    states = [AlarmState(rule) for rule in rules]
    try:
        for observation in seen:
            report.begin(observation.seconds)
            if (ended := timeline.add(observation)) is not None:
                report.interval(ended)
            for state in states:
                if (given := state.add(observation)) is not None:
                    message = report.alarm(given)
                    for sender in senders:
                        sender.put(message)
    finally:
        if (last := timeline.end()) is not None:
            report.interval(last)
        if summary := report.summary():
            _warn(summary)


def _frames(source: "VideoSource", every: float) -> "Iterator[Frame]":
    from fedshelf.common.inference.video.camera import camera_frames
    from fedshelf.common.inference.video.frames import sampled_frames

    if source.is_camera:
        return camera_frames(source, every, _warn)
    return sampled_frames(source, every)


def _senders(webhook_url: str | None, command: str | None) -> "Iterator[BackgroundSender]":
    from fedshelf.client.notifications.background import BackgroundSender
    from fedshelf.client.notifications.program import parse_command, program
    from fedshelf.client.notifications.webhook import check_webhook, webhook

    words = None if command is None else parse_command(command)
    if webhook_url is not None:
        check_webhook(webhook_url)
        yield BackgroundSender(webhook(webhook_url), _warn, _CLOSING_SECONDS)
    if words is not None:
        yield BackgroundSender(program(words), _warn, _CLOSING_SECONDS)


def _warn(sentence: str) -> None:
    typer.echo(sentence, err=True)
