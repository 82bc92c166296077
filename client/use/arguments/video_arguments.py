"""The arguments that the commands on videos share, and the reading of videos."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedshelf.common.inference.video.frames import Frame
    from fedshelf.common.inference.video.source import VideoSource

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A video file, the address of a camera rtsp://HOST/PATH, or a device (/dev/video0).",
    ),
]
Alarms = Annotated[
    list[str] | None,
    typer.Option(
        "--alarm",
        metavar="CLASS:SCORE",
        help="Give an alarm when a class has this probability (0.8 by default); repeatable.",
    ),
]
AlarmFrames = Annotated[
    int,
    typer.Option("--frames", min=1, help="Frames in a row that begin an alarm's event, or end it."),
]
Quiet = Annotated[
    float, typer.Option(min=0, help="Seconds after an alarm before the same one comes again.")
]
Webhook = Annotated[
    str | None, typer.Option(metavar="URL", help="Post each alarm as JSON to this address.")
]
AlarmCommand = Annotated[
    str | None,
    typer.Option("--command", help="Run this program for each alarm, with JSON on its input."),
]


def video_frames(source: "VideoSource", every: float) -> "Iterator[Frame]":
    """Yield the frames of a video or camera. Raises DataError, ConfigError.

    Args:
        source: the video or camera; one that is lost is tried again
        every: seconds between two frames
    """
    from fedshelf.common.inference.video.camera import camera_frames
    from fedshelf.common.inference.video.frames import sampled_frames

    if source.is_camera:
        return camera_frames(source, every, lambda sentence: typer.echo(sentence, err=True))
    return sampled_frames(source, every)
