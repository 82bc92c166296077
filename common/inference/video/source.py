"""The video or camera that a person names, and the refusal of addresses that FFmpeg would follow.

FFmpeg reads names such as `concat:a|b`, `subfile:`, `http:` or `frame%03d.png` as orders to open
other files and addresses. Here a source is one of three things: a file, a camera device, or an
RTSP address.
"""

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.listing.folder_entries import valid_text

VIDEO_SUFFIXES = {
    ".mp4",
    ".m4v",
    ".mov",
    ".3gp",
    ".mkv",
    ".webm",
    ".avi",
    ".ts",
    ".mts",
    ".m2ts",
    ".mpg",
    ".mpeg",
    ".flv",
    ".wmv",
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.,-]*):")


@dataclass(frozen=True)
class VideoSource:
    """A video or camera.

    Attributes:
        kind: a file ends; a device or an address is a camera, which goes on
        location: the path or address
        name: the name for people, without a password
    """

    kind: Literal["file", "device", "address"]
    location: str
    name: str

    @property
    def is_camera(self) -> bool:
        """Return whether it goes on until somebody stops it."""
        return self.kind != "file"


def is_video(name: str) -> bool:
    """Return whether a file of this name is a video, by its suffix."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def parse_source(text: str) -> VideoSource:
    """Return the video or camera that a person named.

    Args:
        text: a path, or an address that begins with rtsp:// or rtsps://

    Raises:
        ConfigError: an address of another kind, or without a host
        DataError: there is no such file or device
    """
    if text.lower().startswith(("rtsp://", "rtsps://")):
        return _address(text)
    path = Path(text)
    if path.is_file():
        return file_source(path)
    if path.exists() and stat.S_ISCHR(path.stat().st_mode):
        return VideoSource("device", str(path.absolute()), text)
    if scheme := _SCHEME.match(text):
        raise ConfigError(
            f"The source got {scheme[1]}:..., which is not read; expected a video file, a camera's"
            " address rtsp://HOST/PATH, or a camera device such as /dev/video0."
        )
    if path.is_dir():
        raise DataError(f"{text} is a folder; expected a video file or a camera.")
    raise DataError(
        f"There is no {text}; expected a video file, a camera's address rtsp://HOST/PATH, or a"
        " camera device such as /dev/video0."
    )


def file_source(path: Path, name: str = "") -> VideoSource:
    """Return the video in a file.

    Args:
        path: the file
        name: its name for people; "": that of the file
    """
    return VideoSource("file", str(path.absolute()), name or valid_text(path.name))


def _address(text: str) -> VideoSource:
    try:
        parts = urlsplit(text)
        host = parts.hostname
        port = parts.port
    except ValueError:
        host = port = None
    if not host or not text.isprintable() or any(map(str.isspace, text)):
        raise ConfigError(
            "The source got an RTSP address without a valid host and port; expected"
            " rtsp://HOST/PATH or rtsp://USER:PASSWORD@HOST:PORT/PATH."
        )
    shown = f"[{host}]" if ":" in host else host
    name = f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{parts.path}"
    return VideoSource("address", text, name)
