"""Frames of a video, sampled by time and turned upright."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from PIL import Image

from fedshelf.common.errors import DataError, NetworkError
from fedshelf.common.inference.video.opening import OpenVideo, open_video
from fedshelf.common.inference.video.source import VideoSource

if TYPE_CHECKING:
    from av.packet import Packet
    from av.sidedata.sidedata import SideData
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_CONTAINER_TICKS_PER_SECOND = 1_000_000  # FFmpeg's AV_TIME_BASE
_MISSING_SECONDS = 1.0  # an end so much earlier than the file claims is no rounding

# The signs of a, b, c, d in the display matrix (ISO 14496-12, 6.2.2), by which the stored picture
# point (x, y) is shown at (a x + c y, b x + d y), y downwards -> how to turn stored pictures.
_UPRIGHT = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
        seconds: since the video's first frame
        image: RGB, upright
    """

    seconds: float
    image: Image.Image


def sampled_frames(source: VideoSource, every: float) -> Iterator[Frame]:
    """Yield the first frame of a video at or after 0, `every`, 2 `every` ... seconds.

    Times are those at which frames are to be shown, so they are right for a variable frame rate; a
    frame that stays longer than `every` is yielded once. One frame is held at a time.

    Args:
        source: the video
        every: seconds; 0: all frames

    Raises:
        ConfigError: the extra `video` is not installed
        DataError: it is no plain video; or it is truncated or damaged, after all frames that could
            be read
        NetworkError: a camera cannot be reached, or is gone
    """
    video = open_video(source)
    reading = _Reading(source, video)
    try:
        due = 0.0
        for seconds, frame in reading.frames():
            if seconds < due:
                continue
            yield Frame(seconds, _upright_image(frame))
            if every > 0:
                due = (int(seconds / every + 1e-6) + 1) * every - 1e-6  # times are rounded
        reading.check_complete()
    finally:
        video.container.close()


class _Reading:
    """One pass through a video, which counts what is damaged."""

    def __init__(self, source: VideoSource, video: OpenVideo) -> None:
        self._source = source
        self._video = video
        self._damaged = 0
        self._start: float | None = None
        self._reached = 0.0
        self._failure = ""

    def frames(self) -> Iterator[tuple[float, "VideoFrame"]]:
        """Yield the seconds since the first frame, which never go back, and all sound frames."""
        for packet in self._packets():
            for frame in self._decoded(packet):
                if frame.is_corrupt:
                    self._damaged += 1
                    continue
                time = self._time(frame)
                if time is None:
                    continue
                if self._start is None:
                    self._start = time
                self._reached = max(self._reached, time - self._start)
                yield self._reached, frame

    def check_complete(self) -> None:
        """Check that all was read. Raises DataError, NetworkError."""
        if self._source.is_camera:
            raise NetworkError(f"The camera {self._source.name} sends no more frames.")
        if self._start is None:
            raise DataError(f"{self._source.name} has no frame that can be decoded.")
        end = _claimed_end(self._video)
        claimed = None if end is None else end - self._start
        is_short = claimed is not None and claimed - self._reached > _MISSING_SECONDS
        if self._failure or self._damaged or is_short:
            of = f" of {claimed:.1f}" if claimed else ""
            reasons = [self._failure] if self._failure else []
            if self._damaged:
                reasons.append(f"{self._damaged} of its parts cannot be decoded")
            reason = f" ({'; '.join(reasons)})" if reasons else ""
            raise DataError(
                f"{self._source.name} is truncated or damaged: it was seen until second"
                f" {self._reached:.1f}{of}{reason}."
            )

    def _time(self, frame: "VideoFrame") -> float | None:
        """Return the time at which a frame is to be shown, on the stream's clock (s)."""
        unit = frame.time_base
        is_avi = self._video.container.format.name == "avi"
        if is_avi and frame.dts is not None and unit is not None:
            # AVI stores no such times, and those that FFmpeg makes up for reordered frames jump
            return float(frame.dts * unit)
        return frame.time

    def _packets(self) -> Iterator["Packet[VideoStream]"]:
        import av

        packets = self._video.container.demux(self._video.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError) as error:
                self._failure = str(error.strerror or "broken")
                return
            yield packet

    def _decoded(self, packet: "Packet[VideoStream]") -> list["VideoFrame"]:
        import av

        try:
            return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
        except (av.error.FFmpegError, OSError):
            self._damaged += 1
            return []


def _claimed_end(video: OpenVideo) -> float | None:
    """Return the time of the last picture's end that the file claims (s); None: it claims none."""
    stream = video.stream
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if (tag := stream.metadata.get("DURATION")) is not None:  # Matroska: 00:00:05.000000000
        try:
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except ValueError:
            return None
    container = video.container
    if len(container.streams) == 1 and container.duration is not None:
        return container.duration / _CONTAINER_TICKS_PER_SECOND
    return None  # the sound may be longer


def _upright_image(frame: "VideoFrame") -> Image.Image:
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d, *_ = struct.unpack("=9i", cast("SideData", matrix))
    turn = _UPRIGHT.get((_sign(a), _sign(b), _sign(c), _sign(d)))
    return image if turn is None else image.transpose(turn)


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
