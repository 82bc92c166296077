"""`flower-client watch`: the products in a video or before a camera, and alarms."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.alarm_report import alarm_senders
from fedshelf.client.use.arguments.model_arguments import Combine, Device, Model, open_model
from fedshelf.client.use.arguments.video_arguments import (
    AlarmCommand,
    AlarmFrames,
    Alarms,
    Quiet,
    Source,
    Webhook,
    video_frames,
)
from fedshelf.client.use.watch_report import WatchReport, event_table

if TYPE_CHECKING:
    from fedshelf.common.inference.video.alarms import AlarmRule
    from fedshelf.common.inference.video.observations import Observation

Every = Annotated[float, typer.Option(min=0, help="Seconds between the frames that are looked at.")]


def watch(
    model: Model,
    source: Source,
    every: Every = 1.0,
    alarm: Alarms = None,
    frames: AlarmFrames = 3,
    quiet: Quiet = 30.0,
    zone: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,W,H", help="Look at this part alone; in pixels, or fractions of the frame."
        ),
    ] = None,
    webhook: Webhook = None,
    command: AlarmCommand = None,
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
    with ExitStack() as closing:
        senders = closing.enter_context(alarm_senders(alarm, webhook, command))
        table = closing.enter_context(event_table(csv_file, video))
        predictor = open_model(model, combine, device)
        described = predictor.description
        rules = [
            parse_alarm(text, frames, quiet, described.classes, described.class_names)
            for text in alarm or ()
        ]
        batch = 1 if video.is_camera else FILE_BATCH
        seen = observe(predictor, video_frames(video, every), area, unsure_below, batch)
        report = WatchReport(video, described.class_names, senders, table, as_json=as_json)
        _tell(seen, rules, report)


def _tell(
    seen: "Iterable[Observation]",
    rules: "Iterable[AlarmRule]",
    report: WatchReport,
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
                    report.alarm(given)
    finally:
        if (last := timeline.end()) is not None:
            report.interval(last)
        if summary := report.summary():
            typer.echo(summary, err=True)
