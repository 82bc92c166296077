"""Opening of videos and cameras by PyAV, so that FFmpeg reads nothing that nobody named.

Each source is opened by one demuxer and by as few protocols as it needs. What a file says inside
(a playlist under another name, a reference to another file) is never followed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.errors import ConfigError, DataError, NetworkError
from fedshelf.common.images.decoding.limits import LOCAL_LIMITS
from fedshelf.common.inference.video.container_formats import (
    HEAD_BYTES,
    PLAIN_CONTAINERS,
    container_format,
    rejected_content,
    rejected_name,
)
from fedshelf.common.inference.video.source import VideoSource

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

OPEN_SECONDS = 15.0
"""Time that a camera has to answer."""

READ_SECONDS = 15.0
"""Time without a frame after which a camera is gone."""

_EXPECTED = "expected a video in MP4, MOV, Matroska, WebM, AVI, MPEG, FLV or WMV"


@dataclass(frozen=True)
class OpenVideo:
    """A video that is open.

    Attributes:
        container: closes it
        stream: its pictures
    """

    container: "InputContainer"
    stream: "VideoStream"


def open_video(source: VideoSource) -> OpenVideo:
    """Open a source for reading.

    Raises:
        ConfigError: the extra `video` is not installed
        DataError: it is no video, one that names other files, or damaged from the start
        NetworkError: the camera cannot be reached
    """
    try:
        import av
    except ImportError:
        raise ConfigError("Videos need PyAV: pip install 'fedshelf[video]'") from None
    av.logging.set_level(av.logging.PANIC)  # errors come as exceptions, not on stderr
    container_name, options = _demuxer(source)
    location = f"file:{source.location}" if source.kind == "file" else source.location
    try:
        container = av.open(
            location,
            format=container_name,
            options=options,
            timeout=(OPEN_SECONDS, READ_SECONDS) if source.is_camera else None,
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError) as error:
        raise _failure(source, error) from error
    return _with_pictures(container, source)


def _demuxer(source: VideoSource) -> tuple[str, dict[str, str]]:
    """Return FFmpeg's name of the only demuxer that may read the source, and options.

    Raises:
        DataError: none may.
    """
    if source.kind == "address":
        return "rtsp", {
            "protocol_whitelist": "rtsp,rtp,udp,tcp,tls",
            # all over the one connection to the address that was given
            "rtsp_transport": "tcp",
        }
    if source.kind == "device":
        return "video4linux2", {"protocol_whitelist": "file"}
    kind = rejected_name(source.location)
    name = None
    if not kind:
        try:
            with Path(source.location).open("rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError as error:
            raise DataError(f"{source.name} is unreadable: {error.strerror}.") from error
        name = container_format(head)
        kind = rejected_content(head)
    if name is None:
        raise DataError(f"{source.name} is {kind}; {_EXPECTED}.")
    return name, {
        "format_whitelist": ",".join(PLAIN_CONTAINERS),
        "protocol_whitelist": "file",
        "enable_drefs": "0",  # an MP4's references to other files; FFmpeg's defaults, made sure of
        "use_absolute_path": "0",
    }


def _with_pictures(container: "InputContainer", source: VideoSource) -> OpenVideo:
    """Return the container with its stream of pictures; close it and raise DataError if it has
    none that can be decoded.
    """
    streams = container.streams.video
    reason = ""
    if not streams:
        reason = "has no pictures, or was cut before its index"
    else:
        context = streams[0].codec_context
        if LOCAL_LIMITS.rejection_reason(context.width, context.height, is_costly=False):
            reason = f"has frames of {context.width} x {context.height} pixels, too large"
        # frames may grow later in the file
        context.options = {"max_pixels": str(LOCAL_LIMITS.max_pixels)}
    if reason:
        container.close()
        raise DataError(f"{source.name} {reason}; {_EXPECTED}.")
    return OpenVideo(container, streams[0])


def _failure(source: VideoSource, error: Exception) -> Exception:
    """Return the error for a person; it never quotes FFmpeg's, which has the password."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    if source.kind == "address":
        return NetworkError(
            f"The camera {source.name} does not answer as RTSP ({reason}); check its address, user"
            " and password."
        )
    if source.kind == "device":
        return DataError(f"{source.name} cannot be opened as a camera ({reason}).")
    return DataError(f"{source.name} is broken from its start ({reason}); {_EXPECTED}.")
